"""Runs csrc/programs/model_main.c on files."""

from __future__ import annotations

import struct
import subprocess
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Result:
    """What the program prints about a file: tokens and a checksum of all logits, or an error."""

    line: str

    @property
    def is_error(self) -> bool:
        """Whether the model was refused, before or after some tokens."""
        return "error: " in self.line

    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens."""
        assert not self.is_error, self.line
        return tuple(int(word) for word in self.line.split()[:-1])

    def has_logits(self, logits: NDArray[np.float32]) -> bool:
        """Whether the checksum is that of these logits: CRC-32 of their bytes."""
        return self.line.split()[-1] == f"{zlib.crc32(logits.tobytes()):08x}"


def run_model(
    program: Sequence[str],
    files: Iterable[bytes],
    folder: Path,
    task: tuple[int, tuple[int, ...]],
    kv: str = "f16",
) -> list[Result]:
    """What the program says about each file; `task` is the number of tokens, and the prompt."""
    corpus = folder / "corpus"
    with open(corpus, "wb") as out:
        for file in files:
            out.write(struct.pack("<Q", len(file)) + file)
    count, prompt = task
    numbers = [str(n) for n in (2, 3, count, *prompt)]
    run = subprocess.run(
        [*program, str(corpus), kv, *numbers], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-4000:]
    return [Result(line) for line in run.stdout.splitlines()]
