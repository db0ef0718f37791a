"""Winding codes in numpy: unpacked, and as weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats import WindingFormat

# Factor of a group whose byte is c: 0 for c = 0, else 2**(-(255 - c) / 16), the fractional power
# rounded to float32 and the whole power exact.
STEP = np.array([2.0 ** (-i / 16) for i in range(16)], np.float32)
GROUP_FACTORS = np.array(
    [0.0] + [STEP[(255 - c) % 16] / np.float32(1 << (255 - c) // 16) for c in range(1, 256)],
    np.float32,
)


def unpack_indices(
    fmt: WindingFormat, codes: NDArray[np.generic], n_indices: int
) -> NDArray[np.uint32]:
    """The first `n_indices` indices of the part 'codes' (uint8), uint32 (n_indices,)."""
    if fmt.packing == "bits":
        stream = np.unpackbits(codes.view(np.uint8), bitorder="little")
        bits = stream[: n_indices * fmt.index_bits].reshape(n_indices, fmt.index_bits)
        indices = np.zeros(n_indices, np.uint32)
        for j in range(fmt.index_bits):
            indices |= bits[:, j].astype(np.uint32) << np.uint32(j)
        return indices
    # Each word is a fraction of 2**64; its next digit is the integer part of its product with the
    # radix, most significant digit first.
    fractions = codes.view("<u8").astype(np.uint64)
    radix, low = np.uint64(fmt.radix), np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    digits = np.empty((len(fractions), fmt.digits), np.uint32)
    for j in range(fmt.digits):
        high = (fractions >> half) * radix + ((fractions & low) * radix >> half)
        digits[:, j] = high >> half
        fractions = fractions * radix
    return digits.reshape(-1)[:n_indices]


def decode_f32_wd(
    fmt: WindingFormat,
    indices: NDArray[np.uint32],
    params: NDArray[np.float32],
    factors: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Weights of winding indices, float32 (n, dim).

    `indices` uint32 (n,); `params` float32 (dim + classes,): the centre, then a scale per class;
    `factors` float32 (n,) or (1,): the group's factor. An index beyond the radix, which no encoder
    writes, counts as the last class with a larger code.
    """
    centre, class_scales = params[: fmt.dim], params[fmt.dim :]
    classes = _classes(fmt, indices)
    scales = class_scales[classes] * factors
    weights: NDArray[np.float32] = centre + scales[:, None] * integers_wd(fmt, indices).astype(
        np.float32
    )
    return weights


def _classes(fmt: WindingFormat, indices: NDArray[np.uint32]) -> NDArray[np.uint32]:
    classes: NDArray[np.uint32] = np.minimum(
        indices // np.uint32(fmt.codes), np.uint32(fmt.classes - 1)
    )
    return classes


def integers_wd(fmt: WindingFormat, indices: NDArray[np.uint32]) -> NDArray[np.int32]:
    """The whole numbers of winding indices, int32 (n, dim): weights without centre and scales."""
    codes = indices - _classes(fmt, indices) * np.uint32(fmt.codes)
    points = codes - np.uint32(fmt.centre)  # wraps at the centre node, whose value is 0 anyway
    angles = points[:, None] * np.array(fmt.generator, np.uint32) + np.array(fmt.shift, np.uint32)
    x = (angles.astype(np.uint64) * np.uint64(fmt.levels) >> np.uint64(32)).astype(np.int32)
    if fmt.table is None:
        values = 2 * x + np.int32(fmt.offset - fmt.levels)
    else:
        values = np.array(fmt.table, np.int32)[x]
    if fmt.centre:
        values[codes == 0] = 0
    return values
