"""A program in edgecomp-run's place that says what a test wants, and the command line beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ssh_server import write_script

from tests.edgecomp.measuring.recorded import recorded_lines

__all__ = ["Device", "StandIn", "assert_gone", "build_stand_in", "measure", "start", "wait_until"]

ROOT = Path(__file__).parents[3]
MAIN = [sys.executable, "-c", "from edgecomp.cli import main; main()"]


@dataclass(frozen=True)
class StandIn:
    """The program, and the file that says what it prints and does."""

    program: Path
    script: Path

    def says(self, *lines: str) -> None:
        """What `measure` prints; @sleep, @signal, @exit, @error and @file are done."""
        self.script.write_text("\n".join(lines) + "\n")

    def measures(self, *between: str) -> None:
        """A whole measurement, with other lines in its middle."""
        lines = recorded_lines()
        self.says(*lines[:9], *between, *lines[9:])

    def running(self, home: Path) -> bool:
        """Whether it is measuring below a folder, which may be gone."""
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                words = command.read_bytes().split(b"\0")
                inside = os.readlink(command.parent / "cwd").startswith(f"{home}/")
                if inside and words[1:2] == [b"measure"]:
                    return True
        return False


@dataclass(frozen=True)
class Device:
    """What a test takes for a device, and what `--on` calls it."""

    on: str
    home: Path  # where it keeps files
    programs: Path  # the first place where it looks for programs
    environment: Mapping[str, str]  # of `edgecomp measure`, TMPDIR among it

    def left_here(self) -> list[str]:
        """Files that lie in this computer's folder for temporary files."""
        here = Path(self.environment["TMPDIR"])
        return sorted(path.name for path in here.glob("edgecomp-*/*"))

    def left_behind(self) -> list[str]:
        """What lies there beside what the test put there."""
        return sorted(path.name for path in self.home.rglob("edgecomp.*"))

    def says(self, program: str, text: str) -> None:
        """A program of the device does something else."""
        write_script(self.programs / program, text)


def build_stand_in(folder: Path) -> StandIn:
    """Compiles it."""
    source = Path(__file__).with_name("stand_in.c")
    program, script = folder / "stand-in", folder / "script"
    command = ["cc", "-std=c99", f'-DSCRIPT="{script}"', str(source), "-o", str(program)]
    subprocess.run(command, check=True)
    return StandIn(program, script)


def command(device: Device, out: Path, *options: object) -> list[str]:
    """`edgecomp measure` of the device."""
    return [*MAIN, "measure", "--on", device.on, "-o", str(out), *map(str, options)]


def measure(
    device: Device, out: Path, *options: object, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """What the command did; it must exit with the code, and leave nothing on the device."""
    done = subprocess.run(
        command(device, out, *options), env=device.environment, cwd=ROOT, capture_output=True,
        text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert_gone(device)
    if code:
        assert done.stdout == ""
        assert [path.name for path in out.parent.iterdir() if path != device.home] == []
        error, hint = done.stderr.splitlines()[-2:]
        assert error.startswith("error: ")
        assert hint.startswith("hint: ")
    return done


@contextmanager
def start(device: Device, out: Path, *options: object) -> Iterator[subprocess.Popen[str]]:
    """The command, running within the block."""
    with subprocess.Popen(
        command(device, out, *options), env=dict(device.environment), cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        try:
            yield running
        finally:
            running.kill()


def wait_until(true: Callable[[], bool], what: str, seconds: float = 90) -> None:
    """Returns when it is true; fails when it does not become so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def assert_gone(device: Device) -> None:
    """Nothing is left there, soon."""
    wait_until(lambda: device.left_behind() == [], f"left behind: {device.left_behind()}")
    wait_until(lambda: device.left_here() == [], f"left here: {device.left_here()}")
