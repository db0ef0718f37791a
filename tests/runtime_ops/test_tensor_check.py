"""ec_tensor_check on tensors that were filled by hand: every limit, at its edge and beyond."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from runtime_ops._native import ffi, lib
from runtime_ops.formats import (
    ColumnsFormat,
    EncodedTensor,
    RawFormat,
    Table,
    TrellisFormat,
    UniformFormat,
)
from runtime_ops.native_tensor import NativeTensor
from tests.runtime_ops.crvq_vectors import crvq_format
from tests.runtime_ops.vectors import LATTICE, random_tensor

Change = Callable[[Any], object]  # changes an ec_tensor; returns what must live on
SHAPE = (6, 40)


def tensors() -> dict[str, EncodedTensor]:
    """One tensor for each layout."""
    rng = np.random.default_rng(0)
    crvq = crvq_format(8, 5, False, (4, 2))
    order = Table.of(rng.permutation(SHAPE[1]).astype(np.uint16))
    columns = ColumnsFormat(crvq, replace(LATTICE, group=4), 8, order)
    ramp = Table.of(np.arange(-8, 8, dtype=np.int8))
    trellis = TrellisFormat(8, 2, (71,), ramp, 4, 8, 5)
    uniform = UniformFormat(4, 32)
    formats = {"crvq": crvq, "columns": columns, "raw": RawFormat(), "trellis": trellis}
    formats["uniform"] = uniform
    return {name: random_tensor(fmt, SHAPE, rng) for name, fmt in formats.items()}


def set_field(path: str, value: object) -> Change:
    """Sets a field such as 'rest.crvq.dim' or 'rest.crvq.shifts[1]'."""
    *parents, last = path.split(".")

    def change(tensor: Any) -> None:
        target = tensor
        for name in parents:
            target = getattr(target, name)
        name, _, index = last.partition("[")
        if index:
            getattr(target, name)[int(index[:-1])] = value
        else:
            setattr(target, name, value)

    return change


def put(path: str, dtype: str, index: int, value: float) -> Change:
    """Points to a copy in which one element differs."""

    def change(tensor: Any) -> object:
        target = tensor if path == "permutation" else tensor.rest
        n_bytes = getattr(target, f"{path}_bytes")
        array = np.frombuffer(ffi.buffer(getattr(target, path), n_bytes), dtype).copy()
        array[index] = value
        data = ffi.new("uint8_t[]", array.tobytes())
        setattr(target, path, data)
        return data

    return change


WRONG: list[tuple[str, Change, int]] = [
    *[
        ("crvq", set_field(f"rest.crvq.{field}", value), lib.EC_BAD_FORMAT)
        for field, value in [
            ("dim", 0), ("dim", 3), ("dim", 32), ("dim", 1 << 31), ("code_bits", 0),
            ("code_bits", 9), ("code_bits", 40), ("stages", 0), ("stages", 9), ("stages", 1),
            ("shifts[0]", 8), ("shifts[2]", 1 << 31), ("wide", 2), ("critical_groups[0]", 1),
            ("critical_groups[1]", 0), ("critical_groups[1]", 1), ("critical_groups[1]", 6),
            ("critical_groups[1]", 0xFFFFFFFF),
            ("critical_groups[2]", 5), ("critical_groups[2]", 0xFFFFFFFF),
            ("critical_groups[3]", 1), ("critical_groups[7]", 1),
        ]
    ],
    *[
        ("crvq", set_field(f"rest.{part}_bytes", value), lib.EC_BAD_TENSOR)
        for part, value in [
            ("codes", 0), ("codes", 23), ("codes", 25), ("codes", 1 << 63), ("extended", 29),
            ("extended", 31), ("scales", 11), ("scales", 13), ("params", 0), ("params", 8),
        ]
    ],
    *[
        ("crvq", set_field(f"rest.{part}", ffi.NULL), lib.EC_BAD_TENSOR)
        for part in ("codes", "extended", "scales", "params")
    ],
    ("crvq", set_field("rest.crvq.codebooks", ffi.NULL), lib.EC_BAD_FORMAT),
    *[
        ("crvq", put("scales", "<f2", 5, value), lib.EC_BAD_FORMAT)
        for value in (-1.0, np.inf, np.nan, 2.0**-15, -np.inf, 2.0**-24)
    ],
    *[
        ("crvq", put("params", "<f4", 0, value), lib.EC_BAD_FORMAT)
        for value in (-1.0, np.inf, np.nan, 2.0**-65, 2.0**65)
    ],
    *[
        ("trellis", set_field(f"rest.trellis.{field}", value), lib.EC_BAD_FORMAT)
        for field, value in [
            ("state_bits", 0), ("state_bits", 9), ("state_bits", 40), ("step_bits", 0),
            ("step_bits", 8), ("step_bits", 1 << 31), ("dim", 0), ("dim", 3), ("dim", 1 << 31),
            ("multipliers[0]", 0), ("multipliers[0]", 70), ("multipliers[0]", 257),
            ("multipliers[0]", 0xFFFFFFFF), ("multipliers[1]", 1), ("fold", 8),
            ("fold", 0xFFFFFFFF), ("table_bits", 3), ("table_bits", 9), ("table_bits", 13),
            ("table_bits", 1 << 31), ("wide", 2), ("rotation", 0), ("rotation", 1),
            ("rotation", 6), ("rotation", 8192), ("rotation", 1 << 31), ("rotation", 16),
            ("rotation", 64), ("table", ffi.NULL),
        ]
    ],
    *[
        ("trellis", set_field(f"rest.{part}_bytes", value), lib.EC_BAD_TENSOR)
        for part, value in [
            ("codes", 0), ("codes", 160), ("codes", 162), ("codes", 1 << 63), ("scales", 11),
            ("scales", 13), ("params", 0), ("params", 8),
        ]
    ],
    *[
        ("trellis", set_field(f"rest.{part}", ffi.NULL), lib.EC_BAD_TENSOR)
        for part in ("codes", "scales", "params")
    ],
    ("trellis", set_field("rest.trellis.state_bits", 16), lib.EC_BAD_TENSOR),
    ("trellis", set_field("rest.trellis.step_bits", 3), lib.EC_BAD_TENSOR),
    *[
        ("trellis", put("scales", "<f2", 5, value), lib.EC_BAD_FORMAT)
        for value in (-1.0, np.inf, np.nan, 2.0**-15, -np.inf, 2.0**-24)
    ],
    *[
        ("trellis", put("params", "<f4", 0, value), lib.EC_BAD_FORMAT)
        for value in (-1.0, np.inf, np.nan, 2.0**-65, 2.0**65)
    ],
    *[
        ("uniform", set_field(f"rest.uniform.{field}", value), lib.EC_BAD_FORMAT)
        for field, value in [
            ("bits", 0), ("bits", 1), ("bits", 3), ("bits", 6), ("bits", 16), ("bits", 1 << 31),
            ("group", 0), ("group", 16), ("group", 31), ("group", 48), ("group", 65568),
            ("group", 1 << 31), ("group", 0xFFFFFFFF),
        ]
    ],
    *[
        ("uniform", set_field(f"rest.{part}_bytes", value), lib.EC_BAD_TENSOR)
        for part, value in [
            ("codes", 0), ("codes", 319), ("codes", 321), ("codes", 1 << 63), ("scales", 12),
            ("scales", 63), ("scales", 65), ("params", 0), ("params", 8),
        ]
    ],
    *[
        ("uniform", set_field(f"rest.{part}", ffi.NULL), lib.EC_BAD_TENSOR)
        for part in ("codes", "scales", "params")
    ],
    ("uniform", set_field("rest.uniform.bits", 8), lib.EC_BAD_TENSOR),
    ("uniform", set_field("rest.uniform.group", 64), lib.EC_BAD_TENSOR),
    *[
        ("uniform", put("scales", "<f2", 21, value), lib.EC_BAD_FORMAT)
        for value in (-1.0, np.inf, np.nan, 2.0**-15, -np.inf, 2.0**-24)
    ],
    *[("uniform", put("scales", "<f2", i, 1.0), lib.EC_BAD_FORMAT) for i in (6, 15, 22, 31)],
    *[
        ("uniform", put("params", "<f4", 0, value), lib.EC_BAD_FORMAT)
        for value in (-1.0, np.inf, np.nan, 2.0**-65, 2.0**65)
    ],
    ("uniform", set_field("shape[0]", 1 << 40), lib.EC_BAD_TENSOR),
    ("uniform", set_field("shape[0]", (1 << 40) // 40), lib.EC_BAD_TENSOR),
    ("trellis", set_field("shape[0]", 1 << 40), lib.EC_BAD_TENSOR),
    ("trellis", set_field("shape[0]", (1 << 40) // 40), lib.EC_BAD_TENSOR),
    ("crvq", set_field("rest.codec", 4), lib.EC_BAD_FORMAT),  # a trellis without parameters
    ("crvq", set_field("rest.codec", 5), lib.EC_BAD_FORMAT),  # nor group integers
    ("crvq", set_field("rest.codec", 6), lib.EC_BAD_FORMAT),
    ("crvq", set_field("shape[0]", 0), lib.EC_BAD_TENSOR),
    ("crvq", set_field("shape[0]", 1 << 40), lib.EC_BAD_TENSOR),
    ("crvq", set_field("n_dims", 9), lib.EC_BAD_TENSOR),
    ("columns", set_field("n_critical", 40), lib.EC_BAD_FORMAT),
    ("columns", set_field("n_critical", (1 << 64) - 1), lib.EC_BAD_FORMAT),
    ("columns", set_field("n_critical", 9), lib.EC_BAD_TENSOR),
    ("columns", set_field("permutation_bytes", 78), lib.EC_BAD_FORMAT),
    ("columns", set_field("permutation_bytes", 82), lib.EC_BAD_FORMAT),
    ("columns", put("permutation", "<u2", 39, 40), lib.EC_BAD_FORMAT),
    ("columns", put("permutation", "<u2", 0, 65535), lib.EC_BAD_FORMAT),
    ("columns", set_field("critical.codes_bytes", 1), lib.EC_BAD_TENSOR),
    ("columns", set_field("critical.winding.dim", 5), lib.EC_BAD_FORMAT),
    ("columns", set_field("rest.codes_bytes", 1), lib.EC_BAD_TENSOR),
    ("raw", set_field("n_critical", 1), lib.EC_BAD_TENSOR),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "status"), WRONG)
def test_what_breaks_a_limit_is_refused(name: str, change: Change, status: int) -> None:
    """With the status that docs/format.md has for it; the tensor is fine without the change."""
    native = NativeTensor(tensors()[name])
    assert lib.ec_tensor_check(native.c) == lib.EC_OK
    _kept = change(native.c)
    assert lib.ec_tensor_check(native.c) == status


@pytest.mark.parametrize(
    "change",
    [
        *[put("scales", "<f2", 0, value) for value in (0.0, 2.0**-14, 65504.0, -0.0)],
        *[put("params", "<f4", 0, value) for value in (0.0, 2.0**-64, 2.0**64)],
    ],
)
def test_the_edges_of_scales_are_accepted(change: Change) -> None:
    """As runtime_ops.formats accepts them."""
    for name in ("crvq", "trellis"):
        native = NativeTensor(tensors()[name])
        _kept = change(native.c)
        assert lib.ec_tensor_check(native.c) == lib.EC_OK


def test_sides_are_set() -> None:
    """Rows and columns of both matrices, number of weights."""
    native = NativeTensor(tensors()["columns"])
    assert lib.ec_tensor_check(native.c) == lib.EC_OK
    assert native.c.n_weights == 240
    assert (native.c.critical.rows, native.c.critical.columns) == (6, 8)
    assert (native.c.rest.rows, native.c.rest.columns) == (6, 32)
    assert lib.ec_tensor_check(ffi.NULL) == lib.EC_BAD_ARGUMENT


@pytest.mark.parametrize("columns", [1, 7, 8, 9, 4096, 65535, 65536])
def test_permutations_of_every_length(columns: int) -> None:
    """Right ones are accepted, those that name a column twice are not."""
    order = np.random.default_rng(columns).permutation(columns).astype("<u2")
    raw = {"raw": np.zeros(columns, np.float32)}
    table = Table.of(order)
    fmt = ColumnsFormat(RawFormat(), None, 0, table)
    native = NativeTensor(EncodedTensor(fmt, (1, columns), raw))
    assert lib.ec_tensor_check(native.c) == lib.EC_OK
    if columns > 1:
        _kept = put("permutation", "<u2", 0, order[-1])(native.c)
        assert lib.ec_tensor_check(native.c) == lib.EC_BAD_FORMAT


def test_products_refuse_ranges_and_null() -> None:
    """Rows outside of the tensor, at either end or by overflow; sizes that cannot be."""
    native = NativeTensor(tensors()["columns"])
    assert lib.ec_tensor_check(native.c) == lib.EC_OK
    x, y = ffi.new("float[40]"), ffi.new("float[6]")
    best, bad = lib.EC_ISA_BEST, lib.EC_BAD_ARGUMENT
    most = (1 << 64) - 1
    assert lib.ec_gemv(native.c, 6, 0, x, ffi.NULL, best) == lib.EC_OK
    assert lib.ec_gemm(native.c, 0, 6, ffi.NULL, 0, ffi.NULL, best) == lib.EC_OK
    for first, n_rows in ((0, 7), (7, 0), (6, 1), (most, 1), (1, most)):
        assert lib.ec_gemv(native.c, first, n_rows, x, y, best) == bad
        assert lib.ec_gemm(native.c, first, n_rows, x, 1, y, best) == bad
    assert lib.ec_gemv(native.c, 0, 6, ffi.NULL, y, best) == bad
    assert lib.ec_gemv(native.c, 0, 6, x, ffi.NULL, best) == bad
    assert lib.ec_gemv(ffi.NULL, 0, 6, x, y, best) == bad
    assert lib.ec_gemm(native.c, 0, 6, x, most, y, best) == bad
    assert lib.ec_gemm(native.c, 0, 6, ffi.NULL, 1, y, best) == bad
    assert lib.ec_gemm(ffi.NULL, 0, 6, x, 1, y, best) == bad
    assert lib.ec_gemv(native.c, 0, 6, x, y, lib.EC_ISA_COUNT) == lib.EC_UNSUPPORTED
