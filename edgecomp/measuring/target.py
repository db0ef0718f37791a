"""What a place must offer to be measured: a shell, and a way to send files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from edgecomp.measuring.errors import MeasureError

__all__ = ["Target", "missing_program", "no_space"]


class Target(Protocol):
    """A device, by the commands that run here and reach it."""

    @property
    def name(self) -> str:
        """As messages call it, such as ssh:pi@raspberrypi.local."""

    @property
    def kind(self) -> Literal["board", "phone"] | None:
        """What it is where the way to it says so."""

    @property
    def folders(self) -> Sequence[str]:
        """Words of its shell: folders where a private one may be made, the best first."""

    def open_command(self, script: str) -> list[str]:
        """The command that connects, runs a script there, and holds the connection."""

    def command(self, script: str) -> list[str]:
        """The command that runs a script there while the first one holds the connection."""

    def push_command(self, path: Path, to: str) -> list[str] | None:
        """The command that copies a file there; None where the shell takes it from stdin."""

    def explain(self, errors: Sequence[str]) -> MeasureError:
        """The error of a connection that failed, from what the command said on stderr."""


def missing_program(name: str, package: str) -> MeasureError:
    """The error of a tool that is not here."""
    return MeasureError(f"{name} is not installed on this computer", f"install it: {package}")


def no_space(name: str) -> MeasureError:
    """The error of a device whose disk is full."""
    return MeasureError(
        f"{name}: no space left on the device", "free 20 MB there; nothing was left behind"
    )
