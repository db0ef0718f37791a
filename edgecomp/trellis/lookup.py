"""Tables looked up and columns rotated, in torch, with gradients."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from runtime_ops import reference

__all__ = ["looked_up", "rotated"]


class Lookup(torch.autograd.Function):
    """table[places]; the table's gradient is a sum by place, in one pass."""

    @staticmethod
    def forward(ctx: Any, places: Tensor, table: Tensor) -> Tensor:
        """The values, of the table's dtype and the places' shape."""
        ctx.save_for_backward(places)
        ctx.size = len(table)
        return torch.take(table, places.long())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        """Nothing for the places, the sums for the table."""
        (places,) = ctx.saved_tensors
        (gradient,) = gradients
        sums = torch.bincount(places.flatten().int(), gradient.flatten(), ctx.size)
        return None, sums.to(gradient.dtype)


def looked_up(places: Tensor, table: Tensor) -> Tensor:
    """table[places], float (rows, columns), for places uint8 or int16 (rows, columns)."""
    found: Tensor = Lookup.apply(places, table)  # type: ignore[no-untyped-call]  # torch has none
    return found


def rotated(x: Tensor, block: int) -> Tensor:
    """Hadamard matrices, entries +-1, times blocks of the last axis; `block` is a power of two.

    Such a matrix is a Kronecker product of two of about its square root, so there are two products.
    """
    left = 1 << (block.bit_length() - 1) // 2
    pairs = x.reshape(*x.shape[:-1], -1, left, block // left)
    found = hadamard_matrix(left, x.dtype, x.device) @ pairs
    found = found @ hadamard_matrix(block // left, x.dtype, x.device)
    return found.reshape(x.shape)


@lru_cache(maxsize=32)
def hadamard_matrix(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The symmetric matrix, (size, size)."""
    exact = reference.hadamard(np.eye(size, dtype=np.float32), size)
    return torch.from_numpy(exact).to(device, dtype)
