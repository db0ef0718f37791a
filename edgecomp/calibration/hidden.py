"""The hidden states of all windows, in a file: memory holds one batch of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np

from edgecomp.calibration.errors import CalibrationError

if TYPE_CHECKING:
    import torch

__all__ = ["HiddenStates", "HiddenWriter"]

END = b"complete"  # behind the last window: room is taken at once, so the size alone tells nothing


@dataclass(frozen=True)
class HiddenStates:
    """Where the hidden states of (windows, context, columns) float32 lie.

    Read and written with plain file calls: mapped pages count as resident, and a full disk would
    end the process.
    """

    path: Path
    windows: int
    context: int
    columns: int

    @property
    def n_bytes(self) -> int:
        """Bytes of all windows."""
        return 4 * self.windows * self.context * self.columns

    def batches(self, n: int) -> Iterator[torch.Tensor]:
        """The windows in order, `n` at a time: float32 (n, context, columns)."""
        with self.path.open("rb") as file:
            for first in range(0, self.windows, n):
                yield self.read(file, min(n, self.windows - first))

    def pick(self, windows: Sequence[int]) -> torch.Tensor:
        """Some windows, float32 (n, context, columns)."""
        import torch

        size = self.n_bytes // self.windows
        picked = []
        with self.path.open("rb") as file:
            for window in windows:
                file.seek(window * size)
                picked.append(self.read(file, 1))
        return torch.cat(picked)

    def read(self, file: BinaryIO, n: int) -> torch.Tensor:
        """The next `n` windows; CalibrationError where the file ends early."""
        import torch

        found = np.fromfile(file, "<f4", n * self.context * self.columns)
        if found.size != n * self.context * self.columns:
            raise CalibrationError(
                f"{self.path}: ended early, expected {self.n_bytes} bytes",
                "remove the folder and start again",
            )
        return torch.from_numpy(found.reshape(n, self.context, self.columns))

    def is_complete(self) -> bool:
        """Whether the file is there and was written to its end."""
        return self.path.is_file() and self.path.stat().st_size == self.n_bytes + len(END)


class HiddenWriter:
    """Writes hidden states, first window first; at the end of its `with` they are on the disk.

    The room is taken at once: OSError when the disk has not enough.
    """

    def __init__(self, states: HiddenStates) -> None:
        self.states = states
        self.file: BinaryIO = states.path.open("wb")
        try:
            os.posix_fallocate(self.file.fileno(), 0, states.n_bytes)
        except BaseException:
            self.file.close()
            raise

    def write(self, hidden: torch.Tensor) -> None:
        """Appends windows, float32 (n, context, columns)."""
        self.file.write(hidden.detach().float().cpu().contiguous().numpy().data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self.file:
            if error is None:
                self.file.flush()
                os.fsync(self.file.fileno())
                self.file.write(END)
