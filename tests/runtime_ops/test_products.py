"""Products: their order by plain loops, the bounds on their error, and any number of threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime_ops import native, reference
from runtime_ops.formats import (
    ColumnsFormat,
    CrvqFormat,
    EncodedTensor,
    PlainFormat,
    RawFormat,
    Table,
    matrices,
)
from runtime_ops.formats.crvq import TABLE_ROWS
from tests.runtime_ops.crvq_vectors import crvq_format
from tests.runtime_ops.vectors import LATTICE, random_tensor

UNIT = 2.0**-24
SMALLEST = 2.0**-149
COLUMNS = 8 * 40 + 3


def ordered(columns: int) -> Table:
    """A permutation."""
    return Table.of(np.random.default_rng(columns).permutation(columns).astype(np.uint16))


def formats() -> list[PlainFormat | ColumnsFormat]:
    """Formats that between them take both orders, alone and added."""
    table = crvq_format(8, 8, False, (7, 7, 7))
    return [
        RawFormat(),
        replace(LATTICE, group=8),
        crvq_format(4, 6, True, (9,)),
        crvq_format(8, 8, False, ()),
        table,
        crvq_format(8, 8, True, (41, 18)),
        ColumnsFormat(table, RawFormat("f16"), 11, ordered(COLUMNS)),
        ColumnsFormat(RawFormat(), replace(table, critical_groups=(4, 2, 1)), 29, None),
    ]


def inputs(columns: int) -> list[NDArray[np.float32]]:
    """Random activations, and some that are unkind to sums: growing, cancelling, all but lost."""
    rng = np.random.default_rng(columns)
    growing = np.exp2(rng.uniform(-20, 20, columns))
    lost = np.ones(columns)
    lost[:8] = 2.0**24
    cancelling = np.where(np.arange(columns) % 2, -1.0, 1.0) * rng.uniform(1, 1.01, columns)
    tiny = rng.normal(0, 1e-40, columns)  # subnormal
    every = [rng.normal(0, 1, columns), growing, lost, cancelling, tiny, np.zeros(columns)]
    return [x.astype(np.float32) for x in every]


def exact_and_bound(
    tensor: EncodedTensor, x: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The product in float64, and the bound that reference.gemv states."""
    fmt = tensor.format
    rows, columns = tensor.shape
    order, n_critical = np.arange(columns), 0
    if isinstance(fmt, ColumnsFormat):
        n_critical = fmt.n_critical
        order = order if fmt.order is None else fmt.order
    inputs64 = x[order].astype(np.float64)
    stored = matrices(tensor)
    stretches = [inputs64[:n_critical], inputs64[n_critical:]][-len(stored) :]
    exact, bound = np.zeros(rows), np.zeros(rows)
    for (part_format, parts), stretch in zip(stored, stretches, strict=True):
        if isinstance(part_format, CrvqFormat) and part_format.uses_table(rows):
            y, error = table_bound(part_format, parts, stretch)
        else:
            weights = reference.decode_matrix(part_format, parts, (rows, len(stretch)))
            y, error = direct_bound(weights.astype(np.float64), stretch)
        exact, bound = exact + y, bound + error
    if len(stored) == 2:
        bound = bound + UNIT * (np.abs(exact) + bound)
    return exact, bound


def gamma(n: int) -> float:
    """Higham's: the most that n roundings do."""
    return n * UNIT / (1 - n * UNIT)


def direct_bound(
    weights: NDArray[np.float64], x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As reference.gemv_f32 states it."""
    n = -(-len(x) // 8) + 3
    return weights @ x, gamma(n) * (np.abs(weights) @ np.abs(x)) + len(x) * SMALLEST


def table_bound(
    fmt: CrvqFormat, parts: dict[str, NDArray[np.generic]], x: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As reference.gemv_f32_crvq_table states it."""
    scales = reference.row_scales(parts).astype(np.float64)
    codes = reference.crvq_codes(fmt, parts, (len(scales), len(x)))
    padded = np.zeros(fmt.groups(len(x)) * 8)
    padded[: len(x)] = x
    exact, magnitude = np.zeros(len(scales)), np.zeros(len(scales))
    for stage in range(fmt.stages):
        words = fmt.values[stage][codes[stage]].reshape(len(scales), -1).astype(np.float64)
        exact += words @ padded[: words.shape[1]]
        magnitude += np.abs(words) @ np.abs(padded[: words.shape[1]])
    n_entries = fmt.groups(len(x)) + sum(fmt.critical_groups)
    bound = gamma(8 + n_entries) * scales * magnitude
    return scales * exact, bound + (8 * n_entries * scales + 1) * SMALLEST


@pytest.mark.parametrize("fmt", formats(), ids=lambda fmt: fmt.codec)
def test_errors_stay_below_the_stated_bound(fmt: PlainFormat | ColumnsFormat) -> None:
    """Never above it, and close enough to it that it says something."""
    tensor = random_tensor(fmt, (TABLE_ROWS, COLUMNS), np.random.default_rng(5))
    largest = 0.0
    for x in inputs(COLUMNS):
        exact, bound = exact_and_bound(tensor, x)
        error = np.abs(reference.gemv(tensor, x).astype(np.float64) - exact)
        assert (error <= bound).all()
        largest = max(largest, float((error[bound > 0] / bound[bound > 0]).max()))
    assert largest > 0.01


@pytest.mark.parametrize("fmt", formats(), ids=lambda fmt: fmt.codec)
def test_gemm_errors_stay_below_the_direct_bound(fmt: PlainFormat | ColumnsFormat) -> None:
    """With decoded weights, as reference.gemv_f32 has it; one addition more for columns."""
    tensor = random_tensor(fmt, (9, COLUMNS), np.random.default_rng(6))
    x = np.stack(inputs(COLUMNS))
    weights = reference.decode(tensor).astype(np.float64)
    for token, y in zip(x, reference.gemm(tensor, x), strict=True):
        exact, _ = direct_bound(weights, token.astype(np.float64))
        n = -(-COLUMNS // 8) + 4
        magnitude = np.abs(weights) @ np.abs(token.astype(np.float64))
        assert (np.abs(y - exact) <= gamma(n) * magnitude + COLUMNS * SMALLEST).all()


def test_the_order_of_tables_by_loops() -> None:
    """reference.gemv_f32_crvq_table, one float32 operation at a time."""
    fmt = crvq_format(8, 8, False, (3, 1))
    tensor = random_tensor(fmt, (5, 29), np.random.default_rng(8))
    x = np.random.default_rng(9).normal(0, 1, 32).astype(np.float32)
    x[29:] = 0
    codes = reference.crvq_codes(fmt, tensor.parts, (5, 29))
    y = reference.gemv_f32_crvq_table(fmt, tensor.parts, x[:29])
    for row in range(5):
        total = np.float32(0)
        for group in range(4):
            for stage in range((3, 2, 2, 1)[group]):
                word = fmt.values[stage][codes[stage][row, group]].astype(np.float32)
                entry = x[8 * group] * word[0]
                for d in range(1, 8):
                    entry = entry + x[8 * group + d] * word[d]
                total = total + entry
        scale = tensor.parts["scales"].astype(np.float32)[row] * tensor.parts["params"][0]
        assert y[row] == total * scale


def test_columns_are_multiplied_where_they_belong() -> None:
    """The sum of two products, each with the columns that the permutation names."""
    rng = np.random.default_rng(10)
    fmt = ColumnsFormat(RawFormat(), RawFormat("f16"), 5, ordered(23))
    tensor = random_tensor(fmt, (4, 23), rng)
    x = rng.normal(0, 1, 23).astype(np.float32)
    weights = reference.decode(tensor)
    order = fmt.order
    assert order is not None
    first, others = order[:5], order[5:]
    expected = reference.gemv_f32(weights[:, first], x[first])
    expected = expected + reference.gemv_f32(weights[:, others], x[others])
    assert np.array_equal(reference.gemv(tensor, x), expected)
    assert np.array_equal(reference.gemm(tensor, x[None])[0], expected)


@pytest.mark.parametrize("fmt", formats(), ids=lambda fmt: fmt.codec)
@pytest.mark.parametrize("rows", [1, 3, TABLE_ROWS + 1])
def test_any_number_of_threads(fmt: PlainFormat | ColumnsFormat, rows: int) -> None:
    """The same bytes, also with more threads than rows."""
    rng = np.random.default_rng(rows)
    tensor = random_tensor(fmt, (rows, COLUMNS), rng)
    x = rng.normal(0, 1, (3, COLUMNS)).astype(np.float32)
    matrix = native.NativeMatrix(tensor)
    vector, tokens = matrix.gemv(x[0]), matrix.gemm(x)
    for threads in (2, 3, 4, 7):
        assert matrix.gemv(x[0], threads).tobytes() == vector.tobytes()
        assert matrix.gemm(x, threads).tobytes() == tokens.tobytes()
    assert matrix.gemv_rows(rows // 2, 1, x[0])[0] == vector[rows // 2]
    assert np.array_equal(tokens, reference.gemm(tensor, x))
    assert matrix.gemm(x[:0], 2).shape == (0, rows)


def test_arguments_that_do_not_fit() -> None:
    """Threads, tokens and rows outside of what there is."""
    matrix = native.NativeMatrix(random_tensor(LATTICE, (3, 40), np.random.default_rng(0)))
    x = np.zeros((2, 40), np.float32)
    with pytest.raises(ValueError, match="threads is 0"):
        matrix.gemv(x[0], 0)
    with pytest.raises(ValueError, match="expected float32"):
        matrix.gemm(x[0])
    with pytest.raises(ValueError, match="expected float32"):
        matrix.gemm(x.astype(np.float64))
    with pytest.raises(ValueError, match="rows 2 to 4, expected a range of 0 to 3"):
        matrix.gemv_rows(2, 2, x[0])
    with pytest.raises(TypeError, match="x is a list"):
        matrix.gemm([[0.0] * 40])
