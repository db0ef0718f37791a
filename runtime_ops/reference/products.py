"""Products of a tensor with vectors in numpy, each in a stated order."""

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
    TrellisFormat,
    matrices,
    matrix_sides,
)
from runtime_ops.reference.crvq import gemv_f32_crvq_table
from runtime_ops.reference.trellis import rotate
from runtime_ops.reference.weights import stored_matrix

LANES = 8  # partial sums of a dot product


def gemv(tensor: EncodedTensor, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The product W x with the tensor as a matrix W (d_out, d_in), float32 (d_out,).

    `x` float32 (d_in,), finite, goes through `prepare`. Critical columns and the rest are
    multiplied alone, each in the order of `gemv_f32_crvq_table` if `CrvqFormat.uses_table`, else in
    that of `gemv_f32`; then the two are added. Either bound on the error grows by the rounding of
    that addition.

    A rotated matrix W = V R is multiplied as V (R x). In every round of `hadamard` an input meets
    one addition, so R x is rounded m = log2(rotation) times, by at most `gamma(m) * |R| |x|`, where
    |R| |x| is the sum of |x| over the block. With the n and gamma of `gemv_f32`, since
    `gamma(a) + gamma(b) + gamma(a) gamma(b) <= gamma(a + b)` (Higham, 3.3), and additions lose
    nothing below the normal numbers,
    `|y - V R x| <= gamma(n + m) * |V| |R| |x| + d_in * 2**-149`.
    Against the product with decoded weights, which `unrotate` rounds m times too, it is n + 2 m.
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
