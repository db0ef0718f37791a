"""Products with int8 activations in numpy: integer weights times scales, summed in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats import (
    ColumnsFormat,
    CrvqFormat,
    EncodedTensor,
    FormatError,
    PlainFormat,
    TrellisFormat,
    UniformFormat,
    WindingFormat,
    matrices,
    matrix_sides,
)
from runtime_ops.reference.crvq import crvq_codes, crvq_sums, row_scales
from runtime_ops.reference.products import prepare
from runtime_ops.reference.trellis import trellis_places, trellis_states
from runtime_ops.reference.uniform import uniform_scales, uniform_values
from runtime_ops.reference.winding import GROUP_FACTORS, integers_wd, unpack_indices

BLOCK = 32  # columns that share a scale of the activations
LEAST = np.float32(2.0**-60)  # a block of smaller activations is zeros
LARGEST = 32767  # magnitude of a weight's integer: products of a block then fit 32 bits
EXACT = 1 << 24  # whole numbers below are exact in float32, in any order of summing


@dataclass(frozen=True)
class IntegerMatrix:
    """Weights as `row_scales[r] * block_scales[r, b] * values[r, c]`, b the block of column c.

    `values` int32 (rows, columns); `block_scales` float32 (rows, blocks) or None for ones;
    `row_scales` float32 (rows,).
    """

    values: NDArray[np.int32]
    block_scales: NDArray[np.float32] | None
    row_scales: NDArray[np.float32]


def is_integer(tensor: EncodedTensor) -> bool:
    """Whether `matmul_i8` takes the tensor: all of its matrices are integers times scales."""
    return all(
        _is_integer(fmt, parts, _columns(tensor, number))
        for number, (fmt, parts) in enumerate(matrices(tensor))
    )


def _is_integer(fmt: PlainFormat, parts: Mapping[str, NDArray[np.generic]], columns: int) -> bool:
    if isinstance(fmt, CrvqFormat):
        return fmt.codebooks.dtype != "<i2" and sum(128 << s for s in fmt.shifts) <= LARGEST
    if isinstance(fmt, WindingFormat):
        centred = not parts["params"][: fmt.dim].any()
        small = fmt.table is not None or fmt.levels <= LARGEST
        fits = fmt.group == 0 or (fmt.group % BLOCK == 0 and columns % fmt.group == 0)
        return fmt.classes == 1 and centred and small and fits
    return isinstance(fmt, TrellisFormat | UniformFormat)


def _columns(tensor: EncodedTensor, number: int) -> int:
    """Columns of one of a tensor's matrices."""
    fmt = tensor.format
    if not isinstance(fmt, ColumnsFormat):
        return matrix_sides(tensor.shape)[1]
    shapes = fmt.part_shapes(tensor.shape)
    return shapes[-len(matrices(tensor)) :][number][1]


def integer_matrix(
    fmt: PlainFormat, parts: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]
) -> IntegerMatrix:
    """The integers and scales of a matrix, rotated if it is stored so; FormatError for others."""
    if not _is_integer(fmt, parts, shape[1]):
        raise FormatError(f"{fmt.codec}: weights are not whole numbers times scales")
    if isinstance(fmt, TrellisFormat):
        places = trellis_places(fmt, trellis_states(fmt, parts, shape), shape)
        return IntegerMatrix(fmt.table.array.astype(np.int32)[places], None, row_scales(parts))
    if isinstance(fmt, CrvqFormat):
        sums = crvq_sums(fmt, crvq_codes(fmt, parts, shape))
        return IntegerMatrix(sums[:, : shape[1]].astype(np.int32), None, row_scales(parts))
    if isinstance(fmt, UniformFormat):
        scales = np.repeat(uniform_scales(fmt, parts, shape), fmt.group // BLOCK, axis=1)
        factor = np.repeat(parts["params"].astype(np.float32), shape[0])
        blocks = -(-shape[1] // BLOCK)
        return IntegerMatrix(uniform_values(fmt, parts, shape), scales[:, :blocks], factor)
    assert isinstance(fmt, WindingFormat)
    n = shape[0] * shape[1]
    values = integers_wd(fmt, unpack_indices(fmt, parts["codes"], fmt.n_indices(n)))
    values = values.reshape(-1)[:n].reshape(shape)
    row_scale = np.repeat(parts["params"][fmt.dim :].astype(np.float32), shape[0])
    if not fmt.group:
        return IntegerMatrix(values, None, row_scale)
    factors = GROUP_FACTORS[parts["scales"]].reshape(shape[0], -1)
    return IntegerMatrix(values, np.repeat(factors, fmt.group // BLOCK, axis=1), row_scale)


def quantise(x: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Activations as int8 (n_tokens, blocks * BLOCK) and a scale for each block, float32.

    `x` float32 (n_tokens, columns); the last block is filled up with zeros. A block's scale is its
    largest magnitude / 127, and values are the numbers times 127 / largest, to the nearest integer,
    ties to even. Blocks below 2**-60 are zeros with the scale 0; a block that holds infinity or NaN
    has the scale NaN and zeros.
    """
    n_tokens, columns = x.shape
    blocks = -(-columns // BLOCK)
    padded = np.zeros((n_tokens, blocks * BLOCK), np.float32)
    padded[:, :columns] = x
    grid = padded.reshape(n_tokens, blocks, BLOCK)
    largest = np.abs(grid).max(axis=2)
    finite = np.isfinite(grid).all(axis=2)
    used = finite & (largest >= LEAST)
    safe = np.where(used, largest, np.float32(1))
    scales = np.where(used, safe / np.float32(127), np.float32(0))
    scales[~finite] = np.nan
    inverse = np.float32(127) / safe
    values = np.rint(np.where(used[:, :, None], grid, 0) * inverse[:, :, None]).astype(np.int8)
    return values.reshape(n_tokens, -1), scales


def matmul_i8(tensor: EncodedTensor, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Products of the tensor with several tokens' int8 activations, float32 (n_tokens, d_out).

    `x` float32 (n_tokens, d_in) goes through `prepare`, then each matrix's part through `quantise`.
    For a row, blocks ascending, the sum of integer products of the block (exact, in int32),
    rounded to float32, times the activations' scale (where weights have block scales: times the
    product of the two scales), is added to a sum that starts at 0; at the end it is multiplied
    with the row's scale. Every float operation is rounded, none is fused. Critical columns and the
    rest are multiplied alone, then added. A token's products do not depend on the others.

    Against the product with unquantised activations an output is off by at most
    `sum |w| scale(block of w) / 2`, besides rounding; FormatError unless `is_integer`.
    """
    rows, columns = matrix_sides(tensor.shape)
    if x.ndim != 2 or x.shape[1] != columns:
        raise FormatError(f"product: x is {x.shape}, expected {columns} columns")
    x = prepare(tensor, x)
    stored = matrices(tensor)
    products: list[NDArray[np.float32]] = []
    first = 0
    for number, (fmt, parts) in enumerate(stored):
        n = _columns(tensor, number)
        matrix = integer_matrix(fmt, parts, (rows, n))
        products.append(matmul_blocks(matrix, *quantise(x[:, first : first + n])))
        first += n
    return products[0] if len(products) == 1 else products[0] + products[1]


def matmul_blocks(
    matrix: IntegerMatrix, values: NDArray[np.int8], scales: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The products of `matmul_i8` for one matrix, from `quantise`'s values and scales."""
    rows, columns = matrix.values.shape
    n_tokens, blocks = scales.shape
    exact = np.float32 if abs(matrix.values).max(initial=0) * 127 * BLOCK <= EXACT else np.float64
    weights = np.zeros((rows, blocks * BLOCK), exact)
    weights[:, :columns] = matrix.values
    y = np.zeros((n_tokens, rows), np.float32)
    for b in range(blocks):
        part = slice(b * BLOCK, (b + 1) * BLOCK)
        sums = (values[:, part].astype(exact) @ weights[:, part].T).astype(np.float32)
        scale = scales[:, b, None]
        if matrix.block_scales is not None:
            scale = scale * matrix.block_scales[None, :, b]
        y = y + sums * scale
    return y * matrix.row_scales
