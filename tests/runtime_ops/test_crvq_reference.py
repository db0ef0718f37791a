"""Codebooks and reordered columns in the reference: by plain loops, and the formats' limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runtime_ops import EncodedTensor, FormatError, RawFormat, reference
from runtime_ops.formats import ColumnsFormat, CrvqFormat, Table
from runtime_ops.formats.crvq import CRVQ_DIMS, TABLE_ROWS
from tests.runtime_ops.crvq_vectors import crvq_format
from tests.runtime_ops.vectors import random_tensor

FORMAT = crvq_format(4, 3, False, (3, 2))


@pytest.mark.parametrize("dim", CRVQ_DIMS)
@pytest.mark.parametrize(("code_bits", "wide"), [(1, False), (3, True), (5, False), (8, True)])
@pytest.mark.parametrize("critical", [(3, 3, 3), (5, 3, 1), (6, 1, 1)])
def test_decoding_is_the_formula(
    dim: int, code_bits: int, wide: bool, critical: tuple[int, int, int]
) -> None:
    """The specification's sum in plain Python integers, one weight at a time."""
    rows, columns = 3, 5 * dim + 1
    fmt = crvq_format(dim, code_bits, wide, critical)
    tensor = random_tensor(fmt, (rows, columns), np.random.default_rng(dim))
    decoded = reference.decode(tensor)
    codebooks = fmt.codebooks.array.reshape(4, -1, dim)
    plane_bytes = [-(-n * code_bits // 8) for n in (6, *critical)]
    starts = [0, 0, rows * plane_bytes[1], rows * (plane_bytes[1] + plane_bytes[2])]
    for row in range(rows):
        scale = np.float32(tensor.parts["scales"][row]) * tensor.parts["params"][0]
        for column in range(columns):
            group, d = divmod(column, dim)
            total = 0
            for stage in range(4):
                if stage > 0 and group >= critical[stage - 1]:
                    continue
                plane = tensor.parts["codes" if stage == 0 else "extended"].tobytes()
                first = starts[stage] + row * plane_bytes[stage]
                stream = int.from_bytes(plane[first : first + plane_bytes[stage]], "little")
                code = stream >> group * code_bits & (1 << code_bits) - 1
                total += int(codebooks[stage, code, d]) * 2 ** fmt.shifts[stage]
            assert decoded[row, column] == scale * np.float32(total)


def test_sums_beyond_two_to_the_24_are_rounded() -> None:
    """Eight int16 codebooks: 7 * -2**22 - 1 becomes the even neighbour."""
    entries = np.full((8, 2, 1), -32768, np.int16)
    entries[7] = -1
    fmt = CrvqFormat(1, 1, (1,) * 7, (7,) * 7 + (0,), Table.of(entries))
    parts = {
        "codes": np.zeros(1, np.uint8),
        "extended": np.zeros(7, np.uint8),
        "scales": np.ones(1, np.float16),
        "params": np.ones(1, np.float32),
    }
    assert reference.decode(EncodedTensor(fmt, (1, 1), parts))[0, 0] == -7 * 2**22


def test_columns_go_where_the_permutation_says() -> None:
    """Column permutation[j] is position j, and the first positions are the critical matrix."""
    order = np.array([3, 0, 4, 1, 2], np.uint16)
    fmt = ColumnsFormat(RawFormat(), RawFormat("f16"), 2, Table.of(order))
    critical, rest = np.arange(4, dtype=np.float16), np.arange(10, 16, dtype=np.float32)
    tensor = EncodedTensor(fmt, (2, 5), {"critical_raw": critical, "raw": rest})
    expected = [[1, 11, 12, 0, 10], [3, 14, 15, 2, 13]]
    assert reference.decode(tensor).tolist() == expected


def test_tables_are_for_many_rows_of_eights() -> None:
    """CrvqFormat.uses_table."""
    fmt = crvq_format(8, 8, False, ())
    assert fmt.uses_table(TABLE_ROWS)
    assert not fmt.uses_table(TABLE_ROWS - 1)
    assert not crvq_format(8, 7, False, ()).uses_table(TABLE_ROWS)
    assert not crvq_format(4, 8, False, ()).uses_table(TABLE_ROWS)


def test_stages_of_groups() -> None:
    """The stages that cover a group, the groups that a stage covers, and the bytes of its rows."""
    fmt = crvq_format(4, 3, False, (6, 3, 3))
    assert [fmt.group_stages(group) for group in range(8)] == [4, 4, 4, 2, 2, 2, 1, 1]
    assert [fmt.stage_groups(stage, 29) for stage in range(4)] == [8, 6, 3, 3]
    assert [fmt.plane_row_bytes(stage, 29) for stage in range(4)] == [3, 3, 2, 2]
    sizes = {spec.name: spec.size for spec in fmt.part_specs((5, 29))}
    assert sizes == {"codes": 15, "extended": 35, "scales": 5, "params": 1}


def test_stages_without_codes() -> None:
    """Codebooks that a tensor does not use: it decodes as if they were not there."""
    rng = np.random.default_rng(7)
    for used in ((), (6,), (6, 3)):
        short = crvq_format(4, 3, False, used)
        entries = np.concatenate([short.codebooks.array.reshape(-1), np.ones(64, np.int8)])
        groups, shifts = (*used, 0, 0), (*short.shifts, 1, 2)
        fmt = CrvqFormat(4, 3, groups, shifts, Table.of(entries))
        assert [spec.name for spec in fmt.part_specs((5, 29))] == [
            spec.name for spec in short.part_specs((5, 29))
        ]
        tensor = random_tensor(short, (5, 29), rng)
        longer = EncodedTensor(fmt, (5, 29), tensor.parts)
        np.testing.assert_array_equal(reference.decode(longer), reference.decode(tensor))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"dim": 3}, "dim is 3"),
        ({"dim": 32}, "dim is 32"),
        ({"code_bits": 0}, "code_bits is 0"),
        ({"code_bits": 9}, "code_bits is 9"),
        ({"critical_groups": (3, -1)}, r"critical_groups is \(3, -1\), expected 2 values >= 0"),
        ({"critical_groups": (0, 1)}, r"critical_groups is \(0, 1\), .* not increasing"),
        ({"critical_groups": (2, 3)}, r"critical_groups is \(2, 3\), .* not increasing"),
        ({"critical_groups": (3,)}, r"critical_groups is \(3,\)"),
        ({"critical_groups": (3, 2, 1)}, r"critical_groups is \(3, 2, 1\)"),
        ({"critical_groups": ()}, r"critical_groups is \(\)"),
        ({"shifts": (0,)}, r"critical_groups is \(3, 2\), expected 0 values"),
        ({"shifts": ()}, "shifts is"),
        ({"shifts": (0,) * 9}, "shifts is"),
        ({"shifts": (0, 8, 0)}, "shifts is"),
        ({"shifts": (0, -1, 0)}, "shifts is"),
        ({"shifts": (0, 0), "critical_groups": (3,)}, "codebooks are"),
        ({"codebooks": Table.of(np.zeros(96, np.uint16))}, "codebooks are"),
    ],
)
def test_formats_outside_their_limits(change: dict[str, object], text: str) -> None:
    """Every limit of a crvq format, with the field named."""
    with pytest.raises(FormatError, match=text):
        replace(FORMAT, **change)


def test_parts_outside_their_limits() -> None:
    """Row scales and factor that would not decode alike everywhere; too few columns."""
    good = random_tensor(FORMAT, (3, 20), np.random.default_rng(1))
    for name, value, text in [
        ("scales", -1.0, "scales hold"),
        ("scales", 2.0**-15, "scales hold"),
        ("scales", np.inf, "scales hold"),
        ("scales", np.nan, "scales hold"),
        ("params", -1.0, "negative scale"),
        ("params", 2.0**65, "params hold"),
    ]:
        part = np.full_like(good.parts[name], value)
        with pytest.raises(FormatError, match=text):
            EncodedTensor(FORMAT, (3, 20), {**good.parts, name: part})
    with pytest.raises(FormatError, match="3 critical groups, expected at most 2"):
        FORMAT.part_specs((3, 8))


def test_columns_outside_their_limits() -> None:
    """Permutations that are none, and critical columns that do not fit."""
    order = Table.of(np.arange(4, dtype=np.uint16))
    for arguments, text in [
        ((RawFormat(), None, 0, None), "neither"),
        ((RawFormat(), None, 1, order), "n_critical is 1"),
        ((RawFormat(), RawFormat(), 0, order), "n_critical is 0"),
        ((RawFormat(), None, 0, Table.of(np.array([0, 2], np.uint16))), "every column once"),
        ((RawFormat(), None, 0, Table.of(np.array([1, 1], np.uint16))), "every column once"),
        ((RawFormat(), None, 0, Table.of(np.array([0, 1], np.int16))), "not uint16"),
    ]:
        with pytest.raises(FormatError, match=text):
            ColumnsFormat(*arguments)
    with pytest.raises(FormatError, match="permutation of 4, expected 5 columns"):
        ColumnsFormat(RawFormat(), None, 0, order).part_specs((2, 5))
    with pytest.raises(FormatError, match="4 critical, expected less than 4"):
        ColumnsFormat(RawFormat(), RawFormat(), 4, order).part_specs((2, 4))
