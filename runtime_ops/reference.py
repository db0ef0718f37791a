"""Decoding in numpy: the specification of every format, in as few steps as it takes.

The C kernels return the same bytes. Integers are uint32 and wrap; floats are float32 with one
rounding per operation, never fused; sums run in a stated order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats import EncodedTensor, FormatError, RawFormat, WindingFormat

LANES = 8  # partial sums of a dot product

# Factor of a group whose byte is c: 0 for c = 0, else 2**(-(255 - c) / 16), the fractional power
# rounded to float32 and the whole power exact.
STEP = np.array([2.0 ** (-i / 16) for i in range(16)], np.float32)
GROUP_FACTORS = np.array(
    [0.0] + [STEP[(255 - c) % 16] / np.float32(1 << (255 - c) // 16) for c in range(1, 256)],
    np.float32,
)


def decode(tensor: EncodedTensor) -> NDArray[np.float32]:
    """The tensor's weights, float32 of its shape."""
    fmt = tensor.format
    if isinstance(fmt, RawFormat):
        return tensor.parts["raw"].astype(np.float32).reshape(tensor.shape)
    factors = np.ones(1, np.float32)
    if fmt.group:
        factors = GROUP_FACTORS[tensor.parts["scales"]]
        factors = np.repeat(factors, fmt.group // fmt.dim)[: fmt.n_indices(tensor.n_weights)]
    indices = unpack_indices(fmt, tensor.parts["codes"], fmt.n_indices(tensor.n_weights))
    weights = decode_f32_wd(fmt, indices, tensor.parts["params"].astype(np.float32), factors)
    return weights.reshape(-1)[: tensor.n_weights].reshape(tensor.shape)


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
    classes = np.minimum(indices // np.uint32(fmt.codes), np.uint32(fmt.classes - 1))
    codes = indices - classes * np.uint32(fmt.codes)
    points = codes - np.uint32(fmt.centre)  # wraps at the centre node, whose value is 0 anyway
    angles = points[:, None] * np.array(fmt.generator, np.uint32) + np.array(fmt.shift, np.uint32)
    x = (angles.astype(np.uint64) * np.uint64(fmt.levels) >> np.uint64(32)).astype(np.int32)
    if fmt.table is None:
        values = 2 * x + np.int32(fmt.offset - fmt.levels)
    else:
        values = np.array(fmt.table, np.int32)[x]
    if fmt.centre:
        values[codes == 0] = 0
    scales = class_scales[classes] * factors
    weights: NDArray[np.float32] = centre + scales[:, None] * values.astype(np.float32)
    return weights


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


def gemv_f32(weights: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The product W x in the order every kernel keeps: float32 (d_out,).

    `weights` float32 (d_out, d_in), `x` float32 (d_in,), finite. Column j is added to lane j mod 8,
    ascending; then lanes l and l + 4 are added, then l and l + 2, then the last two.
    """
    if weights.ndim != 2 or x.shape != weights.shape[1:]:
        raise FormatError(f"gemv: weights {weights.shape} and x {x.shape} do not fit")
    rows, columns = weights.shape
    steps = -(-columns // LANES)
    products = np.zeros((rows, steps * LANES), np.float32)
    products[:, :columns] = weights * x
    lanes = np.zeros((rows, LANES), np.float32)
    for step in products.reshape(rows, steps, LANES).transpose(1, 0, 2):
        lanes = lanes + step
    fours = lanes[:, :4] + lanes[:, 4:]
    twos = fours[:, :2] + fours[:, 2:]
    return twos[:, 0] + twos[:, 1]
