"""Names of kernels: formats that run other loops have other names."""

from __future__ import annotations

import numpy as np
import pytest

from runtime_ops.formats import CrvqFormat, RawFormat, Table, TrellisFormat, UniformFormat
from runtime_ops.kernel_names import kernel_of, kernel_weights


def trellis(
    states: int, step: int, dim: int, entries: int, fold: int = 0, wide: bool = False
) -> TrellisFormat:
    table = Table.of(np.arange(entries).astype("<i2" if wide else "i1"))
    return TrellisFormat(states, step, (5,) * dim, table, fold)


@pytest.mark.parametrize(
    ("fmt", "name"),
    [
        (RawFormat("f16"), "raw-f16"),
        (UniformFormat(4, 32), "uniform-4"),
        (UniformFormat(4, 128), "uniform-4"),
        (trellis(8, 2, 1, 64), "trellis-k2-d1-l8-t64"),
        (trellis(8, 2, 1, 16), "trellis-k2-d1-l8-t64"),
        (trellis(8, 2, 1, 128), "trellis-k2-d1-l8-t256"),
        (trellis(10, 2, 1, 256), "trellis-k2-d1-l12-t256"),
        (trellis(16, 2, 1, 256, fold=3), "trellis-k2-d1-l16-t256-fold"),
        (trellis(16, 3, 2, 256), "trellis-k3-d2-l12-t256"),
        (trellis(12, 7, 1, 4096, wide=True), "trellis-k7-d1-l12-t4096-wide"),
    ],
)
def test_names(fmt: RawFormat | UniformFormat | TrellisFormat, name: str) -> None:
    assert kernel_of(fmt, 512) == name


def test_codebooks_go_by_tables_or_not() -> None:
    books = Table.of(np.zeros(2 * 256 * 8, "i1"))
    fmt = CrvqFormat(8, 8, (32,), (0, 0), books)
    assert (kernel_of(fmt, 256), kernel_of(fmt, 255)) == ("crvq-table", "crvq-d8")
    # 128 groups of one code, 32 of them with another one.
    assert kernel_weights(fmt, 10, 1024) == 10 * 1024 * 1.25
    assert kernel_weights(UniformFormat(4, 32), 10, 1024) == 10 * 1024
