"""Bytes a second at which threads of this machine read memory, by read_bandwidth.c."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("read_bandwidth.c")
FLAGS = ("-std=c99", "-O3", "-march=native", "-pthread")
MEBIBYTES = 512  # more than any cache holds
PASSES = 5  # the best one counts: a bound is asked for


class ToolError(RuntimeError):
    """A program that a benchmark needs cannot be run, or fails; `hint` says what may help."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def output_of(command: list[str], hint: str) -> str:
    """What a command prints on stdout; ToolError, with its last line of stderr, when it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise ToolError(f"{command[0]} cannot be run: {error.strerror}", hint) from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["nothing"]
        raise ToolError(f"{command[0]} ended with {done.returncode}: {said[-1]}", hint)
    return done.stdout


def compile_reader(folder: Path) -> Path:
    """The program in the folder, compiled for this processor; ToolError without a C compiler."""
    program = folder / "read_bandwidth"
    compiler = os.environ.get("CC", "cc")
    command = [compiler, *FLAGS, str(SOURCE), "-o", str(program)]
    output_of(command, "a C compiler is needed: install gcc or clang, or set CC")
    return program


def read_bandwidth(program: Path, threads: int) -> float:
    """Bytes a second that so many threads read; ToolError when memory or threads are lacking."""
    command = [str(program), str(threads), str(MEBIBYTES), str(PASSES)]
    return float(output_of(command, f"{MEBIBYTES} MiB of memory must be free").split()[0])
