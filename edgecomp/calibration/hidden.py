"""The hidden states of all windows, in a file: memory holds one batch of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np

from edgecomp.calibration.errors import CalibrationError

if TYPE_CHECKING:
    import torch

__all__ = ["HiddenStates", "HiddenWriter"]


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
        """Bytes of the file."""
        return 4 * self.windows * self.context * self.columns

    def batches(self, n: int) -> Iterator[torch.Tensor]:
        """The windows in order, `n` at a time: float32 (n, context, columns)."""
        import torch

        with self.path.open("rb") as file:
            for first in range(0, self.windows, n):
                shape = (min(n, self.windows - first), self.context, self.columns)
                count = int(np.prod(shape))
                read = np.fromfile(file, "<f4", count)
                if read.size != count:
                    raise CalibrationError(
                        f"{self.path}: ended early, expected {self.n_bytes} bytes",
                        "remove the folder and start again",
                    )
                yield torch.from_numpy(read.reshape(shape))

    def is_complete(self) -> bool:
        """Whether the file is there with all its bytes."""
        return self.path.is_file() and self.path.stat().st_size == self.n_bytes


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
