"""A device while it is measured: a private folder there, files in it, programs that run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgecomp.measuring import scripts
from edgecomp.measuring.errors import MeasureError
from edgecomp.measuring.line_stream import LineStream
from edgecomp.measuring.target import Target, missing_program, no_space

__all__ = ["Answer", "Device", "open_device"]

ANSWER_SECONDS = 30.0  # that a device may take for what is quick
SEND_SECONDS = 600.0  # without an answer, for a file over a slow line
REMOVE_SECONDS = 15.0
FULL = re.compile(r"no space left|disk quota|not enough space", re.I)
PACKAGES = {"ssh": "apt install openssh-client", "adb": "apt install adb", "sh": "a POSIX shell"}


@dataclass(frozen=True)
class Answer:
    """What a script printed, its exit status, and what it said on stderr."""

    lines: tuple[str, ...]
    status: int
    errors: tuple[str, ...]


class Device:
    """A connection and a folder at its end; `open_device` makes and closes one."""

    def __init__(self, target: Target, lifetime: int) -> None:
        """Connects, for at most `lifetime` seconds. MeasureError."""
        self.target = target
        self.folder = ""
        script = scripts.keeper(target.folders, lifetime)
        self.keeper = start(target.open_command(script), keep_open=True)

    def make_folder(self) -> None:
        """The folder's name, when the device has made it. MeasureError."""
        begun = False
        try:
            for line in self.keeper.lines(ANSWER_SECONDS):
                begun = begun or line == scripts.BEGIN
                if begun and line.startswith(scripts.FOLDER):
                    self.folder = line.removeprefix(scripts.FOLDER)
                    return
        except TimeoutError as error:
            hint = "is it busy, or the line slow? measure again"
            raise MeasureError(f"{self.target.name}: {error}", hint) from None
        self.keeper.end(ANSWER_SECONDS)
        if not begun:
            raise self.target.explain(self.keeper.errors)
        if any(FULL.search(line) for line in self.keeper.errors):
            raise no_space(self.target.name)
        raise MeasureError(
            f"{self.target.name}: no folder where a program may be put and run",
            "tried $TMPDIR, the home folder, /tmp and /var/tmp: set TMPDIR there"
            if len(self.target.folders) > 1 else f"tried {self.target.folders[0]}",
        )  # fmt: skip

    def ask(self, script: str, content: Path | None = None) -> Answer:
        """What a script answers; its stdin is a file's content. MeasureError."""
        stream = start(self.target.command(script), content)
        lines: list[str] = []
        status = None
        try:
            silence = SEND_SECONDS if content else ANSWER_SECONDS
            for kind, line in marked(stream.lines(silence)):
                if kind == scripts.END:
                    status = int(line)
                elif line:
                    lines.append(line)
        except TimeoutError as error:
            raise MeasureError(f"{self.target.name}: {error}", "measure again") from None
        finally:
            stream.end(1.0 if status is None else ANSWER_SECONDS)
        if status is None:
            raise self.lost(stream.errors)
        return Answer(tuple(lines), status, tuple(stream.errors))

    def lost(self, errors: Sequence[str]) -> MeasureError:
        """The error of a connection that ended; the keeper heard it, too."""
        self.keeper.end(REMOVE_SECONDS)
        return self.target.explain([*errors, *self.keeper.errors])

    def send(self, path: Path, name: str) -> None:
        """Copies a file into the folder, executable. MeasureError, OSError of the file here."""
        size = path.stat().st_size
        push = self.target.push_command(path, f"{self.folder}/{name}")
        if push is not None:
            self.push(push)
        inside = scripts.shell_word(self.folder)
        answer = (
            self.ask(scripts.receive(self.folder, name), path)
            if push is None
            else self.ask(scripts.whole(f"wc -c < {inside}/{name}"))
        )
        if any(FULL.search(line) for line in answer.errors):
            raise no_space(self.target.name)
        if answer.status != 0 or answer.lines[-1:] != (str(size),):
            said = answer.errors[-1] if answer.errors else f"{size} bytes sent, {answer.lines}"
            raise MeasureError(f"{self.target.name}: {name} did not arrive: {said}", "try again")
        self.ask(scripts.whole(f"chmod 700 {inside}/{name}"))

    def push(self, command: list[str]) -> None:
        """Runs the command that copies. MeasureError."""
        stream = start(command)
        try:
            said = list(stream.lines(SEND_SECONDS))
        except TimeoutError as error:
            raise MeasureError(f"{self.target.name}: {error}", "measure again") from None
        finally:
            status = stream.end(ANSWER_SECONDS)
        said += stream.errors
        if any(FULL.search(line) for line in said):
            raise no_space(self.target.name)
        if status != 0:
            raise self.lost(said)

    def stream(self, words: Sequence[str], silence: float) -> Iterator[tuple[str, str]]:
        """("line", each line) that a program prints in the folder, then one ("status", number),
        with ("error", each line) of stderr before it. MeasureError when the device is gone."""
        stream = start(self.target.command(scripts.program(self.folder, words)))
        ended = False
        try:
            for kind, line in marked(stream.lines(silence)):
                if kind == scripts.END:
                    ended = True
                    stream.end(ANSWER_SECONDS)
                    yield from (("error", error) for error in stream.errors)
                    yield "status", line
                elif line:
                    yield "line", line
        except TimeoutError as error:
            hint = "see that it is awake and reachable, then measure again"
            raise MeasureError(f"{self.target.name}: {error}", hint) from None
        finally:
            stream.end(1.0)
        if not ended:
            raise self.lost(stream.errors)

    def close(self, note: Callable[[str], None]) -> None:
        """Ends what runs there and removes the folder; says so when that cannot be known."""
        alive = self.keeper.process.poll() is None
        if alive and self.folder:
            # stdin's end reaches the keeper by ssh; adb of old does not tell it.
            inside = scripts.shell_word(self.folder)
            last = f'[ -s {inside}/pid ] && kill "$(cat {inside}/pid)"; rm -rf {inside}'
            self.keeper.close_input()
            if self.keeper.ends_within(REMOVE_SECONDS):
                return
            try:
                self.ask(scripts.whole(last + f"; [ ! -e {inside} ]"))
            except MeasureError:
                note(f"{self.folder} may be left on {self.target.name}: it did not answer")
        self.keeper.end(1.0)


def marked(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """(BEGIN, line) of lines behind BEGIN, then (END, status); what is outside is left out."""
    begun = False
    for line in lines:
        if begun and line.startswith(scripts.END + " "):
            yield scripts.END, line.removeprefix(scripts.END + " ")
            return
        if begun:
            yield scripts.BEGIN, line
        begun = begun or line == scripts.BEGIN


def start(
    command: Sequence[str], content: Path | None = None, keep_open: bool = False
) -> LineStream:
    """The command, running. MeasureError when it is not installed."""
    try:
        return LineStream(command, content, keep_open)
    except FileNotFoundError as error:
        if error.filename != command[0]:
            raise
        raise missing_program(command[0], PACKAGES[command[0]]) from None


@contextmanager
def open_device(target: Target, lifetime: int, note: Callable[[str], None]) -> Iterator[Device]:
    """A device with its folder, which is gone when the block ends, however it ends."""
    device = Device(target, lifetime)
    try:
        device.make_folder()
        yield device
    finally:
        device.close(note)
