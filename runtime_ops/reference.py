"""Decoding in numpy: the specification of every format, in as few steps as it takes.

The C kernels return the same bytes. Integers are uint32 and wrap; floats are float32 with one
rounding per operation, never fused; sums run in a stated order.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats import (
    ColumnsFormat,
    CrvqFormat,
    EncodedTensor,
    FormatError,
    PlainFormat,
    RawFormat,
    TrellisFormat,
    WindingFormat,
    matrices,
    matrix_sides,
)
from runtime_ops.formats.trellis import BAND_ROWS, STRIP_COLUMNS, TILE_WEIGHTS

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
    sides = matrix_sides(tensor.shape)
    shapes = fmt.part_shapes(tensor.shape) if isinstance(fmt, ColumnsFormat) else (sides, sides)
    stored = matrices(tensor)
    decoded = [
        decode_matrix(*matrix, shape)
        for matrix, shape in zip(stored, shapes[-len(stored) :], strict=True)
    ]
    weights = np.concatenate(decoded, axis=1)
    if isinstance(fmt, ColumnsFormat) and fmt.order is not None:
        natural = np.empty_like(weights)
        natural[:, fmt.order] = weights
        weights = natural
    return weights.reshape(tensor.shape)


def decode_matrix(
    fmt: PlainFormat, parts: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """A matrix of one format, float32 of its shape."""
    if isinstance(fmt, TrellisFormat):
        return unrotate(fmt, stored_matrix(fmt, parts, shape))
    return stored_matrix(fmt, parts, shape)


def stored_matrix(
    fmt: PlainFormat, parts: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """A matrix as one format stores it, rotated if it is, float32 of its shape."""
    n_weights = shape[0] * shape[1]
    if isinstance(fmt, RawFormat):
        return parts["raw"].astype(np.float32).reshape(shape)
    if isinstance(fmt, CrvqFormat):
        weights = decode_f32_cb(fmt, crvq_codes(fmt, parts, shape), row_scales(parts))
        return weights[:, : shape[1]]
    if isinstance(fmt, TrellisFormat):
        return decode_f32_tr(fmt, trellis_states(fmt, parts, shape), row_scales(parts), shape)
    factors = np.ones(1, np.float32)
    if fmt.group:
        factors = GROUP_FACTORS[parts["scales"]]
        factors = np.repeat(factors, fmt.group // fmt.dim)[: fmt.n_indices(n_weights)]
    indices = unpack_indices(fmt, parts["codes"], fmt.n_indices(n_weights))
    weights = decode_f32_wd(fmt, indices, parts["params"].astype(np.float32), factors)
    return weights.reshape(-1)[:n_weights].reshape(shape)


def crvq_codes(
    fmt: CrvqFormat, parts: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]
) -> list[NDArray[np.uint8]]:
    """Codes of every stage, uint8 (rows, groups that the stage covers).

    Code g of a row lies in its bits g * code_bits and up, low bits first; rows start
    at whole bytes.
    """
    rows, columns = shape
    sizes = [rows * fmt.plane_row_bytes(stage, columns) for stage in range(fmt.stages)]
    stored = [parts[name] for name in ("codes", "extended") if name in parts]
    planes = np.split(np.concatenate(stored), np.cumsum(sizes)[:-1])
    codes = []
    for stage, plane in enumerate(planes):
        groups = fmt.stage_groups(stage, columns)
        stream = np.unpackbits(plane.view(np.uint8).reshape(rows, -1), axis=1, bitorder="little")
        bits = stream[:, : groups * fmt.code_bits].reshape(rows, groups, fmt.code_bits)
        weights = (1 << np.arange(fmt.code_bits)).astype(np.uint8)
        codes.append((bits * weights).sum(axis=2, dtype=np.uint8))
    return codes


def decode_f32_cb(
    fmt: CrvqFormat, codes: list[NDArray[np.uint8]], scales: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Weights of codes as `crvq_codes` has them, float32 (rows, groups * dim).

    `scales` float32 (rows,). Sums are integers of at most 2**25; beyond 2**24, which only int16
    codebooks reach, their conversion to float32 rounds, to nearest, ties to even.
    """
    values = fmt.values
    sums = values[0][codes[0]]
    for stage in range(1, fmt.stages):
        sums[:, : codes[stage].shape[1]] += values[stage][codes[stage]]
    weights: NDArray[np.float32] = scales[:, None] * sums.reshape(len(sums), -1).astype(np.float32)
    return weights


def row_scales(parts: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
    """The scale of every row, float32 (rows,): the stored one times the tensor's factor."""
    return parts["scales"].astype(np.float32) * parts["params"].astype(np.float32)


def trellis_states(
    fmt: TrellisFormat, parts: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]
) -> NDArray[np.uint32]:
    """States of every step, uint32 (bands, steps of a band): step t's begins at bit t * step_bits.

    Byte i of a band has its bits 8 i to 8 i + 7, low bits first.
    """
    bands, tiles = fmt.tiles(shape)
    stream = np.unpackbits(
        parts["codes"].view(np.uint8).reshape(bands, -1), axis=1, bitorder="little"
    )
    first = np.arange(tiles * fmt.steps_per_tile) * fmt.step_bits
    states = np.zeros((bands, len(first)), np.uint32)
    for j in range(fmt.state_bits):
        states |= stream[:, first + j].astype(np.uint32) << np.uint32(j)
    return states


def decode_f32_tr(
    fmt: TrellisFormat,
    states: NDArray[np.uint32],
    scales: NDArray[np.float32],
    shape: tuple[int, int],
) -> NDArray[np.float32]:
    """Weights of states as `trellis_states` has them, float32 (rows, columns), still rotated.

    `scales` float32 (rows,).
    """
    mask = np.uint32((1 << fmt.state_bits) - 1)
    shift = np.uint32(fmt.state_bits - fmt.table_bits)
    angles = states[:, :, None] * np.array(fmt.multipliers, np.uint32) & mask
    values = fmt.table.array.astype(np.float32)[angles >> shift]
    bands, tiles = fmt.tiles(shape)
    elements = np.empty((bands, tiles, TILE_WEIGHTS), np.float32)
    elements[:, :, fmt.order] = values.reshape(elements.shape)
    grid = elements.reshape(bands, tiles, BAND_ROWS, STRIP_COLUMNS).transpose(0, 2, 1, 3)
    unit = grid.reshape(bands * BAND_ROWS, tiles * STRIP_COLUMNS)[: shape[0], : shape[1]]
    weights: NDArray[np.float32] = scales[:, None] * unit
    return weights


def signs(fmt: TrellisFormat, columns: int) -> NDArray[np.float32]:
    """The sign of every column, +1 or -1, float32 (columns,): the top bit of a hash.

    The hash is MurmurHash3's 32-bit finaliser (public domain) of seed + (column + 1) * 0x9E3779B9.
    """
    h = np.uint32(fmt.seed) + np.arange(1, columns + 1, dtype=np.uint32) * np.uint32(0x9E3779B9)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ h >> np.uint32(shift)) * np.uint32(factor)
    h ^= h >> np.uint32(16)
    return 1 - 2 * (h >> np.uint32(31)).astype(np.float32)


def hadamard(x: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Products of Hadamard matrices, entries +-1, with blocks of the last axis, float32.

    `x` float32 (n, columns), `block` a power of two that divides the columns. In rounds with h = 1,
    2, 4 .. block / 2, the numbers a and b that are h apart become a + b and a - b.
    """
    shape = x.shape
    h = 1
    while h < block:
        pairs = x.reshape(-1, 2, h)
        x = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1)
        h *= 2
    return x.reshape(shape)


def rotate(fmt: TrellisFormat, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inputs as a rotated matrix takes them, R x, float32 (n_tokens, columns).

    Signs, then Hadamard: sums of `rotation` inputs each, rounded log2(rotation) times.
    """
    if not fmt.rotation:
        return x
    return hadamard(x * signs(fmt, x.shape[1]), fmt.rotation)


def unrotate(fmt: TrellisFormat, stored: NDArray[np.float32]) -> NDArray[np.float32]:
    """The matrix W = V R of a stored V, float32 (rows, columns): Hadamard, then signs."""
    if not fmt.rotation:
        return stored
    return hadamard(stored, fmt.rotation) * signs(fmt, stored.shape[1])


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


def gemv(tensor: EncodedTensor, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The product W x with the tensor as a matrix W (d_out, d_in), float32 (d_out,).

    `x` float32 (d_in,), finite, goes through `prepare`. Critical columns and the rest are
    multiplied alone, each in the order of `gemv_f32_crvq_table` if `CrvqFormat.uses_table`, else in
    that of `gemv_f32`; then the two are added. Either bound on the error grows by the rounding of that addition.
    """
    return _products(tensor, x[None], tables=True).reshape(-1)


def gemm(tensor: EncodedTensor, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The products of the tensor with several tokens, float32 (n_tokens, d_out).

    `x` float32 (n_tokens, d_in), finite. Like `gemv`, but always in the order of `gemv_f32`.
    """
    return _products(tensor, x, tables=False)


def _products(tensor: EncodedTensor, x: NDArray[np.float32], tables: bool) -> NDArray[np.float32]:
    fmt = tensor.format
    rows, columns = matrix_sides(tensor.shape)
    if x.ndim != 2 or x.shape[1] != columns:
        raise FormatError(f"product: x is {x.shape}, expected {columns} columns")
    n_critical = fmt.n_critical if isinstance(fmt, ColumnsFormat) else 0
    x = prepare(tensor, x)
    stored = matrices(tensor)
    inputs = [x[:, :n_critical], x[:, n_critical:]][-len(stored) :]
    products = [
        np.array([_product(*matrix, rows, token, tables) for token in part], np.float32)
        for matrix, part in zip(stored, inputs, strict=True)
    ]
    y = products[0] if len(products) == 1 else products[0] + products[1]
    return y.reshape(len(x), rows)


def prepare(tensor: EncodedTensor, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inputs in the order of the stored columns, rotated where the matrix is: what C multiplies.

    `x` float32 (n_tokens, d_in), result of the same shape: permuted, the critical columns first,
    then `rotate` of each matrix's part.
    """
    fmt = tensor.format
    n_critical = 0
    if isinstance(fmt, ColumnsFormat):
        x = x if fmt.order is None else x[:, fmt.order]
        n_critical = fmt.n_critical
    stored = matrices(tensor)
    inputs = [x[:, :n_critical], x[:, n_critical:]][-len(stored) :]
    prepared = [
        rotate(fmt, part) if isinstance(fmt, TrellisFormat) else part
        for (fmt, _), part in zip(stored, inputs, strict=True)
    ]
    return np.concatenate(prepared, axis=1)


def _product(
    fmt: PlainFormat,
    parts: Mapping[str, NDArray[np.generic]],
    rows: int,
    x: NDArray[np.float32],
    tables: bool,
) -> NDArray[np.float32]:
    if tables and isinstance(fmt, CrvqFormat) and fmt.uses_table(rows):
        return gemv_f32_crvq_table(fmt, parts, x)
    return gemv_f32(stored_matrix(fmt, parts, (rows, len(x))), x)


def gemv_f32(weights: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The product W x in the order every kernel keeps: float32 (d_out,).

    `weights` float32 (d_out, d_in), `x` float32 (d_in,), finite. Column j is added to lane j mod 8,
    ascending; then lanes l and l + 4 are added, then l and l + 2, then the last two.

    Against the exact product with the same weights
    `|y - W x| <= gamma(n) * |W| |x| + d_in * 2**-149`
    with `n = ceil(d_in / 8) + 3` and `gamma(n) = n u / (1 - n u)`, `u = 2**-24`: a product is
    rounded once, then by every addition to its lane but the first, which adds to 0, then three
    times (Higham, Accuracy and Stability of Numerical Algorithms, 3.1). The last term is what
    products lose that are subnormal. It holds as long as nothing overflows.
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


def table_f32_cb(codewords: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Products of all codewords with groups of x, float32 (groups, entries).

    `codewords` float32 (entries, dim), `x` float32 (groups, dim): `x_0 C_0 + x_1 C_1 + ..`, added
    in that order.
    """
    tables: NDArray[np.float32] = x[:, :1] * codewords[:, 0]
    for d in range(1, codewords.shape[1]):
        tables = tables + x[:, d : d + 1] * codewords[:, d]
    return tables


def gemv_f32_crvq_table(
    fmt: CrvqFormat, parts: Mapping[str, NDArray[np.generic]], x: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The product of a crvq matrix with x by lookup tables: float32 (d_out,).

    `x` float32 (d_in,), finite; it counts as 0 beyond the row. T_k is `table_f32_cb` of codebook k
    with its shift. Group by group, and in a group stage by stage over those that cover it, the
    entry `T_k[g][code]` is added to the row's sum, which starts at 0; at the end it is multiplied
    with the row's scale.

    Against the exact product `|y - W x| <= gamma(n) * M + (8 N s + 1) * 2**-149` with s the row's
    scale, C_k the codewords, `M = s * sum |C_k| |x|` over all groups and their stages,
    `N = groups + sum(critical_groups)`, the codes of a row, and `n = 8 + N`: a product is rounded
    once and by the seven additions in its group, then N - 1 times in the row's sum (the first adds
    to 0), then by the scale. `W = s * sum_k C_k` is exact here; decoded weights are rounded once,
    or twice beyond 2**24. Compare `gemv_f32`, whose n is of the same size.
    """
    rows = len(parts["scales"])
    padded = np.zeros(-(-len(x) // fmt.dim) * fmt.dim, np.float32)
    padded[: len(x)] = x
    groups = padded.reshape(-1, fmt.dim)
    codes = crvq_codes(fmt, parts, (rows, len(x)))
    tables = [table_f32_cb(values.astype(np.float32), groups) for values in fmt.values]
    sums = np.zeros(rows, np.float32)
    for g in range(len(groups)):
        for stage in range(fmt.group_stages(g)):
            sums = sums + tables[stage][g][codes[stage][:, g]]
    y: NDArray[np.float32] = sums * row_scales(parts)
    return y
