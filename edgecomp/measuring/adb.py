"""An Android device by adb (7 or later, whose shell hands on stdin and exit codes)."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgecomp.measuring.errors import AddressError, MeasureError
from edgecomp.measuring.target import missing_program

__all__ = ["AdbTarget", "adb_target"]

START_SECONDS = 30  # adb's server, when it must start first
USB_DEBUGGING = "plug it in and allow USB debugging: settings, developer options"


@dataclass(frozen=True)
class AdbTarget:
    """A device by its serial number."""

    serial: str
    kind: Literal["phone"] = "phone"
    folders: tuple[str, ...] = ("/data/local/tmp",)

    @property
    def name(self) -> str:
        """adb:SERIAL."""
        return f"adb:{self.serial}"

    def open_command(self, script: str) -> list[str]:
        """adb shell."""
        return self.command(script)

    def command(self, script: str) -> list[str]:
        """adb shell, which hands its words to a shell there."""
        return ["adb", "-s", self.serial, "shell", "-T", script]

    def push_command(self, path: Path, to: str) -> list[str]:
        """adb push."""
        return ["adb", "-s", self.serial, "push", str(path), to]

    def explain(self, errors: Sequence[str]) -> MeasureError:
        """What adb's words mean."""
        text = " ".join(errors).lower()
        last = errors[-1] if errors else "adb ended without a word"
        if "unauthorized" in text:
            return unauthorised(self.serial)
        gone = f"{self.name}: the connection was lost: {last}"
        return MeasureError(gone, "see that the cable is plugged in, then measure again")


def adb_target(serial: str) -> AdbTarget:
    """The target of a serial number, or of the only device there is. AddressError, MeasureError."""
    if serial.startswith("-") or any(not c.isprintable() or c.isspace() for c in serial):
        raise AddressError(f"--on adb:{serial}: no serial number", "adb devices lists them")
    states = adb_devices()
    if not states:
        raise MeasureError("adb sees no device", USB_DEBUGGING)
    if not serial and len(states) > 1:
        listed = ", ".join(sorted(states))
        raise MeasureError(
            f"adb sees {len(states)} devices: {listed}", f"say which: --on adb:{sorted(states)[0]}"
        )
    serial = serial or next(iter(states))
    state = states.get(serial)
    if state == "device":
        return AdbTarget(serial)
    if state is None:
        raise MeasureError(
            f"adb sees no device {serial}, only {', '.join(sorted(states))}", USB_DEBUGGING
        )
    if state == "unauthorized":
        raise unauthorised(serial)
    raise MeasureError(
        f"adb:{serial} is {state}", "unplug it, plug it in again, wait; then: adb devices"
    )


def unauthorised(serial: str) -> MeasureError:
    """The error of a phone that has not let this computer in."""
    return MeasureError(
        f"adb:{serial} has not authorised this computer",
        "unlock its screen and allow USB debugging there",
    )


def adb_devices() -> dict[str, str]:
    """The state of each device that adb sees, by serial number. MeasureError."""
    try:
        done = subprocess.run(
            ["adb", "devices"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=START_SECONDS, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise missing_program("adb", "Android's platform tools (apt install adb)") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MeasureError(f"adb devices: {error}", "adb kill-server, then try again") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise MeasureError(f"adb devices: {said[-1]}", "adb kill-server, then try again")
    states = {}
    for line in done.stdout.splitlines():
        serial, tab, state = line.partition("\t")
        if tab:
            states[serial.strip()] = state.split()[0] if state.split() else "unknown"
    return states
