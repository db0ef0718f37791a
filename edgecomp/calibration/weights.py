"""Weights of a checkpoint as torch tensors: a whole tensor, or single rows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.checkpoint import Checkpoint, CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["read_rows", "read_tensor"]

PIECE_WEIGHTS = 1 << 22  # read at once: 16 MiB as float32


def read_tensor(checkpoint: Checkpoint, name: str, device: Any = "cpu") -> torch.Tensor:
    """The tensor of that name in its shape, float32, on the device.

    It costs its own size and one piece. Raises CheckpointError for a weight that is not finite.
    """
    import torch

    source = checkpoint.source(name)
    flat = np.empty(int(np.prod(source.shape, dtype=np.int64)), np.float32)
    for first in range(0, flat.size, PIECE_WEIGHTS):
        count = min(PIECE_WEIGHTS, flat.size - first)
        flat[first : first + count] = source.read(first, count)
        check_finite(name, flat[first : first + count])
    return torch.from_numpy(flat.reshape(source.shape)).to(device)


def read_rows(checkpoint: Checkpoint, name: str, rows: NDArray[np.int64]) -> torch.Tensor:
    """Those rows of a matrix, float32 (len(rows), d); nothing else of it is read.

    Raises CheckpointError for a weight that is not finite, IndexError for a row that is not there.
    """
    import torch

    source = checkpoint.source(name)
    n_rows, d = source.shape
    found = np.empty((rows.size, d), np.float32)
    for i, row in enumerate(rows.tolist()):
        if not 0 <= row < n_rows:
            raise IndexError(f"row {row} of {name}, which has {n_rows}")
        found[i] = source.read(row * d, d)
    check_finite(name, found)
    return torch.from_numpy(found)


def check_finite(name: str, weights: NDArray[np.float32]) -> None:
    """CheckpointError when a weight is NaN or infinite."""
    finite = np.isfinite(weights)
    if not finite.all():
        value = weights[~finite].flat[0]
        raise CheckpointError(
            f"tensor {name}: a weight is {value}, expected finite numbers", "repair the checkpoint"
        )
