"""Trellises in the reference: by hand, by plain loops, and the formats' limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runtime_ops import EncodedTensor, FormatError, RawFormat, reference
from runtime_ops.formats import ColumnsFormat, Table, TrellisFormat
from runtime_ops.formats.trellis import MAX_STEP_BITS, STATE_BITS
from tests.runtime_ops.vectors import random_tensor

RAMP = Table.of(np.arange(-8, 8, dtype=np.int8))
FORMAT = TrellisFormat(8, 2, (71,), RAMP)
SMALL = tuple((bits, k) for bits in STATE_BITS for k in range(1, min(MAX_STEP_BITS, bits - 1) + 1))


def drawn_format(state_bits: int, step_bits: int, dim: int, variant: int) -> TrellisFormat:
    """A format with random multipliers and table; every third has no fold, every other is wide."""
    rng = np.random.default_rng([state_bits, step_bits, dim, variant])
    bits = int(rng.integers(4, min(12, state_bits) + 1))
    dtype = np.int16 if variant % 2 else np.int8
    limits = np.iinfo(dtype)
    table = Table.of(rng.integers(limits.min, limits.max + 1, 1 << bits, dtype))
    multipliers = tuple((rng.integers(0, 1 << state_bits, dim) | 1).tolist())
    fold = int(rng.integers(1, state_bits)) if variant % 3 else 0
    return TrellisFormat(state_bits, step_bits, multipliers, table, fold)


def test_a_band_by_hand() -> None:
    """Ten bits of state, eight of them a step's own, so that every step begins at a byte.

    A state is a byte and the two low bits of the next one; weights are in the order of elements, of
    which 0, 1, 2 and 4, 5, 6 are in the matrix, which has three columns.
    """
    codes = np.zeros(65, np.uint8)
    codes[:8] = [3, 5, 6, 12, 3, 6, 9, 1]
    states = [3 + 256 * 1, 5 + 256 * 2, 6 + 256 * 0, 12 + 256 * 3, 3 + 256 * 2, 6 + 256 * 1,
              9 + 256 * 1, 1]  # fmt: skip
    folded = [259 ^ 16, 517 ^ 32, 6, 780 ^ 48, 515 ^ 32, 262 ^ 16, 265 ^ 16, 1]
    assert folded == [275, 549, 6, 828, 547, 278, 281, 1]
    angles = [275 * 5 % 1024, 549 * 5 % 1024, 30, 828 * 5 % 1024, 547 * 5 % 1024, 278 * 5 % 1024,
              281 * 5 % 1024, 5]  # fmt: skip
    assert angles == [351, 697, 30, 44, 687, 366, 381, 5]
    entries = [5, 10, 0, 0, 10, 5, 5, 0]  # of 64 steps of the circle each
    assert entries == [angle // 64 for angle in angles]
    values = [-3, 2, -8, -8, 2, -3, -3, -8]

    fmt = TrellisFormat(10, 8, (5,), RAMP, fold=4)
    parts = {
        "codes": codes,
        "scales": np.array([0.5, 2.0], np.float16),
        "params": np.array([0.25], np.float32),
    }
    found = reference.trellis_states(fmt, parts, (2, 3))
    assert found.shape == (1, 64)
    assert found[0, :8].tolist() == states
    decoded = reference.decode(EncodedTensor(fmt, (2, 3), parts))
    first, second = values[0:3], values[4:7]
    assert decoded.tolist() == [[v * 0.125 for v in first], [v * 0.5 for v in second]]


@pytest.mark.parametrize(("state_bits", "step_bits"), SMALL)
@pytest.mark.parametrize("dim", [1, 2])
def test_decoding_is_the_formula(state_bits: int, step_bits: int, dim: int) -> None:
    """The formulas of docs/format.md in plain Python integers, one weight at a time."""
    for variant, (rows, columns) in enumerate([(17, 5), (3, 8), (16, 1)]):
        fmt = drawn_format(state_bits, step_bits, dim, variant)
        tensor = random_tensor(fmt, (rows, columns), np.random.default_rng(variant))
        decoded = reference.decode(tensor)
        tiles, table = -(-columns // 4), fmt.table.array.tolist()
        band_bytes = tiles * 64 // dim * step_bits // 8 + -(-(state_bits - step_bits) // 8)
        codes = tensor.parts["codes"].tobytes()
        assert len(codes) == -(-rows // 16) * band_bytes
        p = 8 // step_bits if dim == 1 and 8 % step_bits == 0 else 1
        seen = 0
        for band in range(-(-rows // 16)):
            stream = int.from_bytes(codes[band * band_bytes :][:band_bytes], "little")
            for step in range(tiles * 64 // dim):
                state = stream >> step * step_bits & (1 << state_bits) - 1
                folded = state ^ state >> fmt.fold if fmt.fold else state
                tile, i = divmod(step, 64 // dim)
                for d in range(dim):
                    j = dim * i + d
                    r, c = divmod(j % p * (64 // p) + j // p, 4)
                    row, column = 16 * band + r, 4 * tile + c
                    if row >= rows or column >= columns:
                        continue
                    angle = fmt.multipliers[d] * folded % (1 << state_bits)
                    value = table[angle * len(table) >> state_bits]
                    scale = np.float32(tensor.parts["scales"][row]) * tensor.parts["params"][0]
                    assert decoded[row, column] == scale * np.float32(value)
                    seen += 1
        assert seen == rows * columns


@pytest.mark.parametrize(
    ("step_bits", "dim", "expected"),
    [
        (1, 1, [0, 8, 16, 24, 32, 40, 48, 56, 1, 9]),
        (2, 1, [0, 16, 32, 48, 1, 17, 33, 49, 2]),
        (3, 1, [0, 1, 2, 3, 4]),
        (4, 1, [0, 32, 1, 33, 2]),
        (5, 1, [0, 1, 2]),
        (7, 1, [0, 1, 2]),
        *[(step_bits, 2, [0, 1, 2, 3]) for step_bits in (1, 2, 3, 4, 5)],
    ],
)
def test_order_of_the_weights_of_a_tile(step_bits: int, dim: int, expected: list[int]) -> None:
    """As the table of docs/format.md lists it; each element comes once."""
    order = TrellisFormat(8, step_bits, (71, 3)[:dim], RAMP).order
    assert order[: len(expected)].tolist() == expected
    assert sorted(order.tolist()) == list(range(64))


@pytest.mark.parametrize("step_bits", [1, 2, 4])
def test_steps_at_one_place_in_their_bytes_lie_side_by_side(step_bits: int) -> None:
    """What a vector of bytes, shifted by one number of bits, decodes is a stretch of elements."""
    fmt = TrellisFormat(8, step_bits, (71,), RAMP)
    per_byte = 8 // step_bits
    for place in range(per_byte):
        stretch = fmt.order[place::per_byte]
        assert np.array_equal(np.diff(stretch), np.ones(len(stretch) - 1))


def test_bits_behind_the_last_window_do_not_count() -> None:
    """The tail of each band, and what tiles hold beyond the matrix."""
    fmt = TrellisFormat(10, 3, (5,), RAMP)
    tensor = random_tensor(fmt, (16, 4), np.random.default_rng(1))
    codes = tensor.parts["codes"].copy()
    assert len(codes) == 25
    codes[24] ^= 0x80  # the windows end at bit 64 * 3 + 7 = 199 of 200
    same = EncodedTensor(fmt, (16, 4), {**tensor.parts, "codes": codes})
    assert reference.decode(same).tobytes() == reference.decode(tensor).tobytes()
    codes[24] ^= 0x40
    other = EncodedTensor(fmt, (16, 4), {**tensor.parts, "codes": codes})
    assert reference.decode(other).tobytes() != reference.decode(tensor).tobytes()


@pytest.mark.parametrize(
    ("fmt", "shape", "codes"),
    [
        (FORMAT, (), 16 + 1),
        (FORMAT, (16, 4), 16 + 1),
        (FORMAT, (17, 4), 2 * (16 + 1)),
        (FORMAT, (16, 5), 2 * 16 + 1),
        (FORMAT, (20, 3, 4), 2 * (3 * 16 + 1)),
        (replace(FORMAT, multipliers=(71, 3)), (20, 12), 2 * (3 * 8 + 1)),
        (replace(FORMAT, step_bits=7), (20, 12), 2 * (3 * 56 + 1)),
        (TrellisFormat(16, 1, (5,), RAMP), (20, 12), 2 * (3 * 8 + 2)),
        (TrellisFormat(16, 8, (5,), RAMP), (20, 12), 2 * (3 * 64 + 1)),
        (TrellisFormat(12, 3, (5, 7), RAMP), (20, 12), 2 * (3 * 12 + 2)),
        (FORMAT, (1 << 20, 1 << 20), (1 << 16) * ((1 << 18) * 16 + 1)),
    ],
)
def test_sizes_of_the_parts(fmt: TrellisFormat, shape: tuple[int, ...], codes: int) -> None:
    specs = [(spec.name, spec.dtype.str, spec.size) for spec in fmt.part_specs(shape)]
    rows = shape[0] if shape else 1
    assert specs == [("codes", "|u1", codes), ("scales", "<f2", rows), ("params", "<f4", 1)]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        *[({"state_bits": bits}, f"state_bits is {bits}, expected one of") for bits in (0, 7, 14)],
        *[({"step_bits": k}, f"step_bits is {k}, expected 1..7") for k in (-1, 0, 8)],
        ({"state_bits": 16, "step_bits": 9}, "step_bits is 9, expected 1..8"),
        *[
            ({"multipliers": numbers}, "multipliers is .*, expected one or two odd numbers below")
            for numbers in ((), (2,), (257,), (-1,), (3, 4), (3, 5, 7))
        ],
        *[({"fold": fold}, rf"fold is {fold}, expected 0\.\.7") for fold in (-1, 8)],
        *[
            ({"rotation": n}, f"rotation is {n}, expected 0 or a power of two")
            for n in (-2, 1, 3, 12, 8192)
        ],
        ({"seed": 1}, "seed is 1, expected"),
        ({"rotation": 4, "seed": -1}, "seed is -1"),
        ({"rotation": 4, "seed": 1 << 32}, "seed is 4294967296"),
        ({"table": Table.of(np.zeros(8, np.int8))}, r"table is \|i1\(8,\)"),
        ({"table": Table.of(np.zeros(24, np.int8))}, r"table is \|i1\(24,\)"),
        ({"table": Table.of(np.zeros(512, np.int8))}, r"table is \|i1\(512,\), .* most 2\*\*8"),
        ({"table": Table.of(np.zeros(16, np.uint16))}, r"table is <u2\(16,\)"),
        ({"state_bits": 16, "table": Table.of(np.zeros(8192, np.int8))}, r"table is \|i1\(8192"),
    ],
)  # fmt: skip
def test_formats_outside_their_limits(change: dict[str, object], text: str) -> None:
    """Every limit of a trellis format, with the field named."""
    with pytest.raises(FormatError, match=text):
        replace(FORMAT, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"step_bits": 7, "fold": 7},
        {"state_bits": 16, "step_bits": 8, "multipliers": (1, 65535), "fold": 15},
        {"rotation": 2, "seed": (1 << 32) - 1},
        {"rotation": 4096, "seed": 0},
        {"table": Table.of(np.zeros(256, np.int16))},
        {"state_bits": 12, "table": Table.of(np.zeros(4096, np.int16))},
    ],
)
def test_formats_at_their_limits(change: dict[str, object]) -> None:
    """Are formats, and decode."""
    fmt = replace(FORMAT, **change)
    columns = fmt.rotation or 3
    tensor = random_tensor(fmt, (2, columns), np.random.default_rng(3))
    assert np.isfinite(reference.decode(tensor)).all()


def test_parts_outside_their_limits() -> None:
    """Scales that would not decode alike everywhere; columns that a rotation does not divide."""
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
    rotated = replace(FORMAT, rotation=8)
    with pytest.raises(FormatError, match="rotation is 8, expected a divisor of 20 columns"):
        rotated.part_specs((3, 20))
    with pytest.raises(FormatError, match="rotation is 8, expected a divisor of 13 columns"):
        ColumnsFormat(rotated, RawFormat(), 3).part_specs((3, 16))
    assert len(ColumnsFormat(rotated, RawFormat(), 3).part_specs((3, 19))) == 4
