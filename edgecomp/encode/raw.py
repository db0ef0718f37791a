"""Tensors that stay as they are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode.blocks import check_finite
from edgecomp.encode.source import WeightSource
from runtime_ops.formats import EncodedTensor, RawFormat

BLOCK = 1 << 22


def encode_raw(source: WeightSource) -> EncodedTensor:
    """The weights unchanged: float16 if every one of them fits it exactly, else float32."""
    n_weights = math.prod(source.shape)
    halves: list[NDArray[np.float16]] = []
    floats: list[NDArray[np.float32]] = []
    for first in range(0, n_weights, BLOCK):
        weights = source.read(first, min(BLOCK, n_weights - first))
        check_finite(weights, first)
        with np.errstate(over="ignore", under="ignore"):
            half = weights.astype(np.float16)
        if not floats and np.array_equal(half.astype(np.float32), weights):
            halves.append(half)
        else:
            floats += [*(h.astype(np.float32) for h in halves), weights]
            halves = []
    if floats:
        return EncodedTensor(RawFormat("f32"), source.shape, {"raw": np.concatenate(floats)})
    return EncodedTensor(RawFormat("f16"), source.shape, {"raw": np.concatenate(halves)})
