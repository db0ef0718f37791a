"""This machine as a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecomp.measuring.errors import MeasureError

__all__ = ["LocalTarget"]


@dataclass(frozen=True)
class LocalTarget:
    """This machine, through a shell as any other."""

    name: str = "local"
    kind: None = None
    folders: tuple[str, ...] = ('"$TMPDIR"', "/tmp", '"$HOME/.cache"', "/var/tmp", '"$HOME"')

    def open_command(self, script: str) -> list[str]:
        """A shell."""
        return self.command(script)

    def command(self, script: str) -> list[str]:
        """A shell."""
        return ["sh", "-c", script]

    def push_command(self, path: Path, to: str) -> None:
        """None: the shell copies."""
        del path, to

    def explain(self, errors: Sequence[str]) -> MeasureError:
        """A shell that ended: somebody ended it."""
        said = f": {errors[-1]}" if errors else ""
        return MeasureError(f"local: the shell was ended{said}", "measure again")
