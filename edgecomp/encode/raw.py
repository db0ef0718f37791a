"""Tensors that stay as they are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode.blocks import PartWriter, map_blocks
from edgecomp.encode.source import WeightSource
from runtime_ops.formats import EncodedTensor, RawFormat

BLOCK = 1 << 20  # weights


def encode_raw(source: WeightSource) -> EncodedTensor:
    """The weights unchanged: float16 if every one of them fits it exactly, else float32."""
    fits = all(map_blocks(source, BLOCK, _fits_half))
    part = PartWriter(math.prod(source.shape), "<f2" if fits else "<f4")
    for weights in map_blocks(source, BLOCK, lambda w: w):
        part.append(weights)
    return EncodedTensor(RawFormat("f16" if fits else "f32"), source.shape, {"raw": part.array})


def _fits_half(weights: NDArray[np.float32]) -> bool:
    with np.errstate(over="ignore", under="ignore"):
        return np.array_equal(weights.astype(np.float16).astype(np.float32), weights)
