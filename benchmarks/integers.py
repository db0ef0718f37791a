"""The baseline: round-to-nearest integers in groups along the rows, asymmetric, as in MatMulNBits.

A group of 128 weights has a float16 scale and a zero point of `bits` bits; codes and zero points
are packed in `bits` bits each. Files hold exactly that, so that their bytes can be counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GROUP = 128


@dataclass(frozen=True)
class Integers:
    """A matrix as group integers; `codes` and `zeros` are packed, `scales` float16 (groups,)."""

    shape: tuple[int, ...]
    bits: int
    codes: NDArray[np.uint8]
    zeros: NDArray[np.uint8]
    scales: NDArray[np.float16]

    @property
    def n_bytes(self) -> int:
        """Bytes of the three arrays."""
        return self.codes.nbytes + self.zeros.nbytes + self.scales.nbytes


def quantize(weights: NDArray[np.float32], bits: int) -> Integers:
    """The weights, float32 of any shape, rounded to nearest in groups of 128 of the flat order."""
    flat = weights.reshape(-1)
    padded = np.append(flat, np.repeat(flat[-1:], -len(flat) % GROUP)).reshape(-1, GROUP)
    top = (1 << bits) - 1
    low = np.minimum(padded.min(1), 0)
    high = np.maximum(padded.max(1), 0)
    scales = np.maximum((high - low) / top, 2.0**-24).astype(np.float16)
    wide = scales.astype(np.float32)
    zeros = np.clip(np.rint(-low / wide), 0, top)
    codes = np.clip(np.rint(padded / wide[:, None]) + zeros[:, None], 0, top)
    return Integers(weights.shape, bits, _pack(codes, bits), _pack(zeros, bits), scales)


def dequantize(integers: Integers) -> NDArray[np.float32]:
    """The weights that the packed arrays stand for, float32 of the matrix's shape."""
    n_groups = len(integers.scales)
    codes = _unpack(integers.codes, integers.bits, n_groups * GROUP).reshape(n_groups, GROUP)
    zeros = _unpack(integers.zeros, integers.bits, n_groups)
    weights = (codes - zeros[:, None]) * integers.scales.astype(np.float32)[:, None]
    return weights.reshape(-1)[: int(np.prod(integers.shape))].reshape(integers.shape)


def _pack(values: NDArray[np.floating], bits: int) -> NDArray[np.uint8]:
    flat = values.reshape(-1).astype(np.uint8)
    planes = (flat[:, None] >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(planes.reshape(-1), bitorder="little")


def _unpack(packed: NDArray[np.uint8], bits: int, n: int) -> NDArray[np.float32]:
    planes = np.unpackbits(packed, bitorder="little")[: n * bits].reshape(n, bits)
    values: NDArray[np.uint8] = planes << np.arange(bits, dtype=np.uint8)
    return np.asarray(values.sum(1), np.float32)
