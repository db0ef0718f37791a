"""Coded matrices as tensors: integer codebooks, row scales, bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecomp.encode import CrvqSettings, WeightError
from edgecomp.encode.crvq.export import (
    CodedStage,
    IntegerCodebooks,
    StoredMatrix,
    integer_codebooks,
    order_table,
    pack,
    stored_tensor,
)
from edgecomp.encode.row_scales import stored_row_scales
from runtime_ops import reference
from runtime_ops.formats import ColumnsFormat, CrvqFormat, EncodedTensor
from runtime_ops.formats.crvq import MAX_SHIFT
from runtime_ops.formats.part import MAX_SCALE, MIN_ROW_SCALE, MIN_SCALE
from runtime_ops.native import decode
from tests.edgecomp.encode.crvq.one_matrix import encode_matrix

LARGEST = {"int8": 127, "int16": 32767}


def books(*sizes: float, codewords: int = 16, dim: int = 4) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    return [size * rng.uniform(-1, 1, (codewords, dim)) for size in sizes]


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize(
    "sizes",
    [(1.0,), (1.0, 0.3, 0.1), (1.0, 0.01), (0.1, 1.0), (1.0, 1 / 64), (1e-30, 1e-31), (1e20, 1e19),
     (0.99, 1.01), (1.0, 2.0, 4.0)],
)  # fmt: skip
def test_rounding_is_at_most_half_a_step(sizes: tuple[float, ...], dtype) -> None:
    exact = books(*sizes)
    found = integer_codebooks(exact, dtype)
    assert found.table.array.dtype == dtype
    assert found.table.array.size == len(sizes) * 16 * 4
    assert all(0 <= shift <= MAX_SHIFT for shift in found.shifts)
    assert np.abs(found.table.array.astype(int)).max() <= LARGEST[dtype]
    for value, book, shift in zip(found.values, exact, found.shifts, strict=True):
        step = found.unit * 2.0**shift
        assert np.abs(value - book).max() <= step / 2 * (1 + 1e-9)
        # a step is at most twice what the book's own range asks for
        assert step <= 2 * np.abs(book).max() / LARGEST[dtype] * (1 + 1e-9)
    first = found.table.array[: 16 * 4].astype(int)
    assert np.abs(first).max() == LARGEST[dtype]


@pytest.mark.parametrize(
    ("sizes", "precise"), [((1.0, 1e-6), 0), ((1e-6, 1.0), 1), ((1e-30, 1.0), 1)]
)
def test_magnitudes_that_no_shift_spans(sizes: tuple[float, ...], precise: int) -> None:
    """The larger book keeps its precision, the smaller one has what is left."""
    exact = books(*sizes)
    found = integer_codebooks(exact, "int8")
    error = np.abs(found.values - np.stack(exact))
    assert error[precise].max() <= sizes[precise] / 127  # half a step of the next power of two
    assert error.max() <= max(sizes) / 127


def test_zero_codebooks() -> None:
    nothing = np.zeros((16, 4))
    found = integer_codebooks([nothing, nothing], "int8")
    assert not found.values.any()
    assert MIN_SCALE <= found.unit <= 1
    exact = books(0.5)
    for pair in ([nothing, *exact], [*exact, nothing]):
        found = integer_codebooks(pair, "int16")
        for value, book in zip(found.values, pair, strict=True):
            assert np.abs(value - book).max() <= 0.5 * 0.5 / 32767
    with_zeros = StoredMatrix(
        (2, 8), np.zeros(2), None, (CodedStage(np.zeros((2, 2), np.uint8)),),
        integer_codebooks([nothing], "int8"),
    )  # fmt: skip
    tensor = stored_tensor(with_zeros, np.zeros((2, 8)))
    assert tensor.error_bound == 0
    assert not decode(tensor).any()


@pytest.mark.parametrize("code_bits", range(1, 9))
@pytest.mark.parametrize("groups", [1, 2, 7, 9])
def test_packed_codes(code_bits: int, groups: int) -> None:
    codes = np.random.default_rng(1).integers(0, 1 << code_bits, (3, groups))
    packed = pack(codes, code_bits)
    assert packed.shape == (3, math.ceil(groups * code_bits / 8))
    for row, numbers in zip(packed, codes, strict=True):
        whole = int.from_bytes(row.tobytes(), "little")
        assert [whole >> i * code_bits & (1 << code_bits) - 1 for i in range(groups)] == list(
            numbers
        )


@pytest.mark.parametrize("largest", [1.0, 1.9999999, 3e-5, 1e-12, 7e12])
def test_row_scales(largest: float) -> None:
    scales = largest * np.array([1.0, 0.5, 1e-3, 7e-5, 4e-5, 2e-5, 1e-9, 0.0])
    half, factor = stored_row_scales(scales, 0.25)
    assert half.dtype == np.float16
    assert 1 <= half[0] <= 2
    found = half.astype(np.float64) * float(factor) / 0.25
    large = scales >= 2 * MIN_ROW_SCALE * largest
    assert np.abs(found[large] / scales[large] - 1).max() <= 2.0**-11
    normal = (half == 0) | (half >= np.float16(MIN_ROW_SCALE))
    assert normal.all()
    assert found[-1] == found[-2] == 0
    assert np.abs(found - scales).max() <= 2.0**-11 * largest


def test_row_scales_that_no_container_holds() -> None:
    half, factor = stored_row_scales(np.zeros(3), 0.25)
    assert not half.any()
    assert factor == 0.25
    assert stored_row_scales(np.array([2.0**-62]), 0.25)[1] == MIN_SCALE
    for largest in (2.0**-63, 2.0**67, 1e30):
        with pytest.raises(WeightError, match="a scale of"):
            stored_row_scales(np.array([largest, 0.0]), 0.25)
    assert stored_row_scales(np.array([2.0**66]), 0.25)[1] == MAX_SCALE


def stored(critical: str, columns: int, with_order: bool) -> StoredMatrix:
    """A matrix of 5 rows with random codes and 8 critical columns, or none."""
    rng = np.random.default_rng(columns)
    groups, n = -(-columns // 4), 8
    order = rng.permutation(columns) if with_order else None
    scales = rng.uniform(0.5, 2, 5)

    def codes(g: int) -> CodedStage:
        return CodedStage(rng.integers(0, 16, (5, g)).astype(np.uint8))

    if critical == "scalar":
        own = integer_codebooks(books(1.0, dim=1), "int16")
        return StoredMatrix(
            (5, columns), scales, order, (codes(groups - n // 4),),
            integer_codebooks(books(1.0), "int16"), n, (codes(n),), own,
        )  # fmt: skip
    sizes = (1.0, 0.3) if critical == "codebooks" else (1.0,)
    stages = [codes(groups), *[codes(n // 4) for _ in sizes[1:]]]
    return StoredMatrix(
        (5, columns), scales, order, tuple(stages), integer_codebooks(books(*sizes), "int16")
    )


def by_hand(matrix: StoredMatrix) -> NDArray[np.float64]:
    """The decoded matrix, from the integer codebooks' values."""
    rows, columns = matrix.shape
    found = np.zeros((rows, columns + 4))

    def add(stages: tuple[CodedStage, ...], each: IntegerCodebooks, first: int) -> None:
        for stage, values in zip(stages, each.values, strict=True):
            part = values[stage.codes].reshape(rows, -1)
            found[:, first : first + part.shape[1]] += part

    add(matrix.stages, matrix.books, matrix.n_critical)
    if matrix.critical_books is not None:
        add(matrix.critical, matrix.critical_books, 0)
    natural = np.empty((rows, columns))
    natural[:, slice(None) if matrix.order is None else matrix.order] = found[:, :columns]
    return natural * matrix.scales[:, None]


@pytest.mark.parametrize("critical", ["none", "codebooks", "scalar"])
@pytest.mark.parametrize("columns", [12, 18, 64])
@pytest.mark.parametrize("with_order", [False, True])
def test_tensors_hold_the_matrix_within_their_bound(critical, columns: int, with_order) -> None:
    matrix = stored(critical, columns, with_order)
    expected = by_hand(matrix)
    original = expected + np.random.default_rng(2).normal(0, 0.1, expected.shape)
    tensor = stored_tensor(matrix, original)
    decoded = decode(tensor).astype(np.float64)
    assert decoded.tobytes() == reference.decode(tensor).astype(np.float64).tobytes()
    np.testing.assert_allclose(decoded, expected, rtol=1e-3, atol=1e-3)
    own = matrix.order if matrix.order is not None else np.arange(columns)
    errors = ((decoded - original) ** 2)[:, own]
    spans = [(a, min(a + 4, columns)) for a in range(0, columns, 4)]
    if critical == "scalar":
        spans = [(j, j + 1) for j in range(8)] + [span for span in spans if span[0] >= 8]
    largest = max(float(errors[:, a:b].sum(1).max()) for a, b in spans)
    assert tensor.error_bound == pytest.approx(math.sqrt(largest), rel=1e-9)
    plain = not with_order and critical != "scalar"
    assert isinstance(tensor.format, CrvqFormat if plain else ColumnsFormat)


def test_shapes_other_than_matrices() -> None:
    matrix = stored("codebooks", 12, False)
    tensor = stored_tensor(matrix, by_hand(matrix), (5, 3, 4))
    assert decode(tensor).shape == (5, 3, 4)


def test_wide_permutations() -> None:
    order = np.arange(1 << 16)[::-1]
    table = order_table(order)
    assert table is not None
    assert table.array.tolist() == order.tolist()
    with pytest.raises(WeightError, match="65537 columns"):
        order_table(np.arange(65537))


def error_of(tensor: EncodedTensor, weights: NDArray[np.float64]) -> float:
    return float(np.square(decode(tensor) - weights).sum() / np.square(weights).sum())


@pytest.mark.parametrize("codes", ["codebooks", "scalar"])
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("shape", [(24, 48), (9, 30), (1, 16), (16, 5), (3, 8)])
def test_one_matrix(shape: tuple[int, int], share: float, codes) -> None:
    settings = CrvqSettings(codebook_bits=4, critical=share, critical_codes=codes, sweeps=1)
    weights = np.random.default_rng(4).normal(size=shape)
    tensor = encode_matrix(weights, settings)
    assert tensor.shape == shape
    assert error_of(tensor, weights) < 0.95
    again = encode_matrix(weights, settings)
    assert decode(again).tobytes() == decode(tensor).tobytes()
