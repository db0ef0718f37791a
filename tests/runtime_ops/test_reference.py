"""The reference itself: by hand, by plain loops, and against the specification's own example."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from runtime_ops import EncodedTensor, FormatError, RawFormat, WindingFormat, kernels, reference
from runtime_ops.formats.winding import radix_digits
from tests.runtime_ops.vectors import LATTICE, PAPER, formats, random_tensor

ONE = np.ones(1, np.float32)


def test_the_example_of_the_specification() -> None:
    """docs/format.md, Codec: winding."""
    fmt = replace(PAPER, classes=1)
    assert fmt.generator == (19088744, 286331154)
    tensor = EncodedTensor(
        fmt,
        (2,),
        {"codes": np.array([17], np.uint8), "params": np.array([0, 0, 0.001], np.float32)},
    )
    scale = np.float32(0.001)
    expected = [scale * np.float32(-193), scale * np.float32(-195)]
    assert reference.decode(tensor).tolist() == expected


@pytest.mark.parametrize("fmt", formats(), ids=str)
def test_decoding_is_the_formula(fmt: WindingFormat) -> None:
    """The specification's loop in plain Python integers, one weight at a time."""
    rng = np.random.default_rng(7)
    tensor = random_tensor(fmt, (3, 29), rng)
    params = tensor.parts["params"]
    codes = int.from_bytes(tensor.parts["codes"].tobytes(), "little")
    decoded = reference.decode(tensor).reshape(-1)
    for i in range(tensor.n_weights):
        number, d = divmod(i, fmt.dim)
        if fmt.packing == "bits":
            index = codes >> number * fmt.index_bits & (1 << fmt.index_bits) - 1
        else:
            word, digit = divmod(number, fmt.digits)
            fraction = Fraction(codes >> 64 * word & (1 << 64) - 1, 1 << 64)
            index = int(fraction * fmt.radix ** (digit + 1)) % fmt.radix
        kind = min(index // fmt.codes, fmt.classes - 1)
        k = index - kind * fmt.codes - int(fmt.centre)
        x = (k * fmt.generator[d] + fmt.shift[d]) % 2**32 * fmt.levels >> 32
        value = fmt.table[x] if fmt.table else 2 * x + fmt.offset - fmt.levels
        if fmt.centre and k == -1:
            value = 0
        scale = params[fmt.dim + kind]
        if fmt.group:
            byte = int(tensor.parts["scales"][i // fmt.group])
            step = np.float32(2.0 ** (-((255 - byte) % 16) / 16))
            factor = step / np.float32(2 ** ((255 - byte) // 16)) if byte else np.float32(0)
            scale = scale * factor
        assert decoded[i] == params[d] + scale * np.float32(value)


def test_radix_words_hold_the_digits_they_should() -> None:
    """ceil(S 2**64 / radix**n) gives S's digits, for the extremes of S."""
    for radix in (3, 1601, 7131, (1 << 24) - 3, 1 << 16):
        fmt = replace(LATTICE, points=radix, packing="radix")
        digits = radix_digits(radix)
        for number in (0, 1, radix**digits - 1, radix ** (digits - 1), 12345678901 % radix**digits):
            word = -(-number * 2**64 // radix**digits)
            stream = np.frombuffer(word.to_bytes(8, "little"), np.uint8)
            found = reference.unpack_indices(fmt, stream, digits).tolist()
            assert found == [number // radix ** (digits - 1 - j) % radix for j in range(digits)]


def test_group_factors() -> None:
    """Byte 255 is 1, 16 less is exactly half, 0 is 0."""
    factors = reference.GROUP_FACTORS
    assert factors[255] == 1
    assert factors[0] == 0
    assert all(factors[255 - 16 * i] == 2.0**-i for i in range(15))
    assert (np.diff(factors) > 0).all()


def test_sums_run_in_eight_lanes() -> None:
    """The order of gemv_f32, by a loop over columns."""
    rng = np.random.default_rng(3)
    for columns in (1, 7, 8, 9, 64, 101):
        weights = rng.normal(0, 1, (2, columns)).astype(np.float32)
        x = rng.normal(0, 1, columns).astype(np.float32)
        for row, got in zip(weights, reference.gemv_f32(weights, x), strict=True):
            a = [np.float32(0)] * 8
            for j in range(columns):
                a[j % 8] = a[j % 8] + row[j] * x[j]
            b = [a[i] + a[i + 4] for i in range(4)]
            assert got == (b[0] + b[2]) + (b[1] + b[3])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"dim": 5}, "dim is 5"),
        ({"points": 1}, "points is 1"),
        ({"generator": (1, 2, 3)}, "generator"),
        ({"generator": (0, 1, 2, 3)}, "generator"),
        ({"shift": (0, 0, 0, 1 << 32)}, "shift"),
        ({"levels": 1}, "levels is 1"),
        ({"classes": 17}, "classes is 17"),
        ({"group": 30}, "group is 30"),
        ({"levels": 6, "table": (1, 2, 3, 4, 5, 6)}, "levels is 6, expected a power of two"),
        ({"levels": 4, "table": (1, 2, 4, 3)}, "ascending"),
    ],
)
def test_formats_outside_their_limits(change: dict[str, object], text: str) -> None:
    """Every limit of docs/format.md, with the field named."""
    with pytest.raises(FormatError, match=text):
        replace(LATTICE, **change)


def test_tensors_whose_parts_do_not_fit() -> None:
    """Missing parts, wrong sizes and dtypes, params out of range."""
    good = random_tensor(LATTICE, (4, 32), np.random.default_rng(0))
    params = good.parts["params"]
    for parts, text in [
        ({"codes": good.parts["codes"]}, r"parts are \['codes'\]"),
        ({**good.parts, "codes": good.parts["codes"][:-1]}, "part codes is"),
        ({**good.parts, "params": params.astype(np.float64)}, "part params is float64"),
        ({**good.parts, "params": params * np.float32(np.nan)}, "params hold a value outside"),
        ({**good.parts, "params": params * np.float32(1e30)}, "params hold a value outside"),
        ({**good.parts, "params": -np.abs(params)}, "negative scale"),
    ]:
        with pytest.raises(FormatError, match=text):
            EncodedTensor(LATTICE, (4, 32), parts)
    for shape, text in [((4, 0), "empty side"), ((1,) * 9, "9 dimensions"), ((1 << 41,), "more")]:
        with pytest.raises(FormatError, match=text):
            EncodedTensor(RawFormat(), shape, {"raw": np.zeros(1, np.float32)})


def test_kernel_table_in_the_docs() -> None:
    """docs/kernels.md is what runtime_ops.kernels prints."""
    docs = Path(__file__).parents[2] / "docs" / "kernels.md"
    assert docs.read_text() == kernels.markdown(), (
        "run: python -m runtime_ops.kernels > docs/kernels.md"
    )
