"""Prepared inputs by the C side: when they are needed, what is refused, and who can share them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runtime_ops import native, reference
from runtime_ops._native import ffi, lib
from runtime_ops.formats import ColumnsFormat, EncodedTensor, Format, RawFormat, Table
from runtime_ops.native_tensor import NativeTensor
from tests.runtime_ops.trellis_vectors import rotated, trellis_format
from tests.runtime_ops.vectors import LATTICE, random_tensor

COLUMNS = 80
BEST = lib.EC_ISA_BEST
PLAIN = trellis_format(8, 2, 1, 8, False)


def order() -> Table:
    """A permutation of the columns."""
    return Table.of(np.random.default_rng(3).permutation(COLUMNS).astype(np.uint16))


def tensor_of(fmt: Format, rows: int = 5) -> EncodedTensor:
    """A tensor of random codes."""
    return random_tensor(fmt, (rows, COLUMNS), np.random.default_rng(rows))


def checked(fmt: Format) -> NativeTensor:
    """The C side's view of such a tensor."""
    tensor = NativeTensor(tensor_of(fmt))
    assert lib.ec_tensor_check(tensor.c) == lib.EC_OK
    return tensor


@pytest.mark.parametrize(
    ("fmt", "needed"),
    [
        (RawFormat(), False),
        (PLAIN, False),
        (rotated(16), True),
        (ColumnsFormat(PLAIN, RawFormat(), 5, None), False),
        (ColumnsFormat(RawFormat(), None, 0, order()), True),
        (ColumnsFormat(RawFormat(), rotated(8), 8, None), True),
        (ColumnsFormat(rotated(8), RawFormat(), 16, None), True),
    ],
)
def test_when_inputs_are_prepared(fmt: Format, needed: bool) -> None:
    """Only where something changes; preparing them all the same copies the others."""
    tensor = checked(fmt)
    assert lib.ec_input_floats(tensor.c, 0) == 0
    assert lib.ec_input_floats(tensor.c, 3) == (3 * COLUMNS if needed else 0)
    x = np.random.default_rng(1).normal(0, 1, (3, COLUMNS)).astype(np.float32)
    out = np.empty_like(x)
    buffers = ffi.from_buffer("float[]", x), 3, ffi.from_buffer("float[]", out)
    assert lib.ec_input_prepare(tensor.c, *buffers, BEST) == lib.EC_OK
    assert out.tobytes() == reference.prepare(tensor_of(fmt), x).tobytes()
    assert np.array_equal(out, x) == (not needed)


def test_what_is_refused() -> None:
    """Null pointers, sizes that cannot be, unknown instruction sets."""
    tensor = checked(rotated(16))
    x, out = ffi.new("float[]", COLUMNS), ffi.new("float[]", COLUMNS)
    bad, most = lib.EC_BAD_ARGUMENT, (1 << 64) - 1
    assert lib.ec_input_prepare(tensor.c, ffi.NULL, 0, ffi.NULL, BEST) == lib.EC_OK
    assert lib.ec_input_prepare(ffi.NULL, x, 1, out, BEST) == bad
    assert lib.ec_input_prepare(tensor.c, ffi.NULL, 1, out, BEST) == bad
    assert lib.ec_input_prepare(tensor.c, x, 1, ffi.NULL, BEST) == bad
    assert lib.ec_input_prepare(tensor.c, x, most, out, BEST) == bad
    assert lib.ec_input_prepare(tensor.c, x, 1, out, lib.EC_ISA_COUNT) == lib.EC_UNSUPPORTED
    assert lib.ec_input_floats(tensor.c, most) == most
    assert lib.ec_input_floats(ffi.NULL, 1) == 0


def test_tensors_share_inputs() -> None:
    """With one permutation and one rotation, whatever else differs."""
    x = np.random.default_rng(2).normal(0, 1, COLUMNS).astype(np.float32)
    q = ColumnsFormat(rotated(8), RawFormat(), 16, order())
    k = replace(q, rest=replace(rotated(8, 12, 3), seed=rotated(8).seed), critical=LATTICE)
    shared = reference.prepare(tensor_of(q), x[None])
    for fmt, rows in ((q, 5), (k, 33)):
        tensor = tensor_of(fmt, rows)
        view = NativeTensor(tensor)
        assert lib.ec_tensor_check(view.c) == lib.EC_OK
        y = np.empty(rows, np.float32)
        buffers = ffi.from_buffer("float[]", shared), ffi.from_buffer("float[]", y)
        assert lib.ec_gemv(view.c, 0, rows, *buffers, BEST) == lib.EC_OK
        assert y.tobytes() == reference.gemv(tensor, x).tobytes()


@pytest.mark.parametrize(
    "fmt", [PLAIN, rotated(16, 12, 3), ColumnsFormat(rotated(8), PLAIN, 24, order())]
)
def test_rows_of_bands(fmt: Format) -> None:
    """Every range of rows, decoded and multiplied, by any number of threads."""
    rows = 35
    tensor = tensor_of(fmt, rows)
    matrix = native.NativeMatrix(tensor)
    x = np.random.default_rng(4).normal(0, 1, (2, COLUMNS)).astype(np.float32)
    weights, y = reference.decode(tensor), reference.gemv(tensor, x[0])
    for first in range(rows):
        for n in range(rows - first + 1):
            got = native.decode_rows(tensor, first, n)
            assert got.tobytes() == weights[first : first + n].tobytes()
            assert matrix.gemv_rows(first, n, x[0]).tobytes() == y[first : first + n].tobytes()
    for threads in (1, 2, 3, 4, 7):
        assert matrix.gemv(x[0], threads).tobytes() == y.tobytes()
        assert matrix.gemm(x, threads).tobytes() == reference.gemm(tensor, x).tobytes()
