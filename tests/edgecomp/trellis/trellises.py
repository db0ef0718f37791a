"""Encoded tensors of trellises, for tests of what tunes them."""

from __future__ import annotations

import numpy as np

from edgecomp.encode import ArraySource, TrellisSettings
from edgecomp.encode.trellis.tensor import InputStatistics, encode_trellis
from runtime_ops.formats import EncodedTensor

__all__ = ["encoded", "weights"]


def weights(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A float32 matrix, its second row zeros."""
    found = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    if len(found) > 1:
        found[1] = 0
    return found


def encoded(
    weight: np.ndarray, bits: float = 2.0, critical: float = 0.0, **changes: object
) -> EncodedTensor:
    """The tensor of a matrix, with feedback of an identity."""
    settings = TrellisSettings(bits=bits, state_bits=8, critical=critical, **changes)
    columns = weight.shape[1]
    ones = InputStatistics(
        np.arange(1.0, columns + 1, dtype=np.float32), np.eye(columns, dtype="f4")
    )
    return encode_trellis(ArraySource(weight), settings, "w", ones)
