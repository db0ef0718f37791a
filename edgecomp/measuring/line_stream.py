"""A command that runs, its lines as they come, and its end under all circumstances."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

__all__ = ["LineStream"]

MOST_LINES = 100_000
LINE_BYTES = 1 << 16  # what is longer comes in pieces
KEPT_ERRORS = 20


class LineStream:
    """A command in a session of its own: Ctrl-C reaches it only through whoever started it."""

    def __init__(
        self, command: Sequence[str], content: Path | None = None, keep_open: bool = False
    ) -> None:
        """Starts the command; stdin is a file's content, open until `end`, or nothing. OSError."""
        with open(content or os.devnull, "rb") as source:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE if keep_open else source,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        self.found: queue.Queue[str | None] = queue.Queue()
        self.errors: deque[str] = deque(maxlen=KEPT_ERRORS)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.readers = (
            threading.Thread(target=self.read, args=(self.process.stdout,), daemon=True),
            threading.Thread(target=self.read_errors, args=(self.process.stderr,), daemon=True),
        )
        for reader in self.readers:
            reader.start()

    def read(self, stream: IO[bytes]) -> None:
        """Hands on the lines of stdout, then None; a flood is cut off."""
        with stream, suppress(OSError, ValueError):
            for _ in range(MOST_LINES):
                line = stream.readline(LINE_BYTES)
                if not line:
                    break
                self.found.put(line.decode("utf-8", "replace").strip())
        self.found.put(None)

    def read_errors(self, stream: IO[bytes]) -> None:
        """Keeps the last lines of stderr."""
        with stream, suppress(OSError, ValueError):
            while line := stream.readline(LINE_BYTES):
                if text := line.decode("utf-8", "replace").strip():
                    self.errors.append(text)

    def lines(self, silence: float) -> Iterator[str]:
        """Lines until the command closes its stdout. TimeoutError: none for `silence` seconds."""
        while True:
            try:
                line = self.found.get(timeout=silence)
            except queue.Empty:
                raise TimeoutError(f"no answer for {silence:g} seconds") from None
            if line is None:
                return
            yield line

    def close_input(self) -> None:
        """Lets the command see the end of stdin."""
        if self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()

    def ends_within(self, seconds: float) -> bool:
        """Whether the command has ended after so many seconds, and its last words are read."""
        deadline = time.monotonic() + seconds
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        if self.process.returncode is None:
            return False
        for reader in self.readers:
            reader.join(max(0.1, deadline - time.monotonic()))
        return True

    def end(self, grace: float) -> int:
        """Closes stdin, waits `grace` seconds, kills if that was too short: the exit status."""
        self.close_input()
        try:
            self.ends_within(grace)
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                if self.process.poll() is None:
                    self.process.send_signal(number)
                    with suppress(subprocess.TimeoutExpired):
                        self.process.wait(2)
        return self.process.returncode
