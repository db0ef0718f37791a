"""Group integers: nearest values, scales, errors, sizes, and what stays raw."""

from __future__ import annotations

import numpy as np
import pytest

from edgecomp.encode import ArraySource, SettingsError, UniformSettings, WeightError, encode
from edgecomp.encode.uniform import TRIED, pack
from runtime_ops import reference
from runtime_ops.formats import EncodedTensor, RawFormat, UniformFormat
from runtime_ops.formats.uniform import UNIFORM_BITS

# Mean squared errors of unit Gaussian samples that groups of 32 stay below; of the best scalar code
# of four levels it is 0.1175, of one whose levels are -2 .. 1 times a scale more.
LIMITS = {2: 0.14, 4: 0.0076, 8: 2.6e-5}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def encoded(weight: np.ndarray, bits: float, group: int = 32) -> EncodedTensor:
    return encode(ArraySource(weight), UniformSettings(bits, group))


@pytest.mark.parametrize("bits", UNIFORM_BITS)
@pytest.mark.parametrize("group", [32, 96, 128, 1 << 16])
def test_error_of_every_weight_is_below_the_bound(bits: int, group: int) -> None:
    weight = normal(37, 501)
    tensor = encoded(weight, bits, group)
    missed = np.abs(reference.decode(tensor).astype(np.float64) - weight)
    assert tensor.format == UniformFormat(bits, group)
    assert missed.max() <= tensor.error_bound <= missed.max() * (1 + 2e-7)


@pytest.mark.parametrize("bits", UNIFORM_BITS)
def test_error_of_gaussian_weights(bits: int) -> None:
    weight = normal(256, 1024)
    errors = [
        float(((reference.decode(encoded(weight, bits, group)) - weight) ** 2).mean())
        for group in (32, 128, 1024)
    ]
    assert errors[0] < LIMITS[bits]
    assert errors == sorted(errors)


@pytest.mark.parametrize("bits", UNIFORM_BITS)
def test_no_scale_of_the_grid_and_no_integer_is_better(bits: int) -> None:
    """A group at a time, every scale of the grid and the integers around each weight."""
    weight = normal(16, 64)
    weight[1] *= np.float32(1e-3)
    tensor = encoded(weight, bits)
    squares = (reference.decode(tensor).astype(np.float64) - weight) ** 2
    found = squares.reshape(16, 2, 32).sum(axis=2)
    half = 1 << bits - 1
    factor = float(tensor.parts["params"][0])
    step, above, below = TRIED[bits]
    for row in range(3):
        for group in range(2):
            w = weight[row, 32 * group : 32 * group + 32].astype(np.float64)
            unit = np.float32(np.abs(w).max() / factor) / np.float32(half - 1)
            best = np.inf
            for i in range(-above, below + 1):
                scale = float(np.float16(unit * np.float32(1 - i * step))) * factor
                values = np.arange(-half, half)
                best = min(best, float(((w[:, None] - scale * values) ** 2).min(axis=1).sum()))
            assert found[row, group] == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("bits", UNIFORM_BITS)
def test_what_decodes_to_integers_times_a_scale_is_kept(bits: int) -> None:
    """A weight that is a value times its group's scale, the largest value among them."""
    half = 1 << bits - 1
    values = np.random.default_rng(1).integers(-half + 1, half, (20, 64))
    values[:, ::32] = half - 1
    tensor = encoded((0.375 * values).astype(np.float32), bits)
    missed = reference.decode(tensor) - 0.375 * values
    assert np.abs(missed).max() <= 0.375 * half * 2.0**-11  # scales are rounded to float16


@pytest.mark.parametrize("shape", [(48, 40), (2, 3, 5, 64), (17, 33), (512, 1)])
def test_codes_are_packed_as_they_are_read(shape: tuple[int, ...]) -> None:
    rows = shape[0]
    for bits in UNIFORM_BITS:
        fmt = UniformFormat(bits, 32)
        columns = int(np.prod(shape[1:]))
        half = 1 << bits - 1
        values = np.random.default_rng(2).integers(-half, half, (rows, columns)).astype(np.int8)
        parts = {"codes": pack(fmt, values)}
        assert (reference.uniform_values(fmt, parts, (rows, columns)) == values).all()


def test_size_is_the_settings_rate() -> None:
    for bits in UNIFORM_BITS:
        settings = UniformSettings(bits, 64)
        tensor = encode(ArraySource(normal(64, 256)), settings)
        assert 8 * (tensor.n_bytes - 4) / (64 * 256) == settings.expected_bpw == bits + 0.25


def test_blocks_do_not_show() -> None:
    """Rows have the same codes alone and in a tensor that is encoded in several blocks."""
    weight = normal(2000, 300)
    weight[0, 0] = weight[1600, 0] = 9  # one factor for both
    whole, part = encoded(weight, 4), encoded(weight[1600:], 4)
    assert reference.decode(whole)[1600:].tobytes() == reference.decode(part).tobytes()
    again = encoded(weight, 4)
    assert all(whole.parts[name].tobytes() == again.parts[name].tobytes() for name in whole.parts)


def test_zeros_and_tiny_groups() -> None:
    weight = normal(16, 128)
    weight[0] = 0
    weight[1, :32] = 0
    weight[2] *= np.float32(1e-9)  # below what a scale in float16 can be beside the others
    tensor = encoded(weight, 4)
    decoded = reference.decode(tensor)
    assert not decoded[0].any()
    assert not decoded[1, :32].any()
    assert not decoded[2].any()
    assert decoded[3].any()
    assert not reference.decode(encoded(np.zeros((16, 128), np.float32), 8)).any()


@pytest.mark.parametrize("size", [1e-25, 1e30])
def test_weights_beyond_all_scales_stay_raw(size: float) -> None:
    weight = normal(32, 64) * np.float32(size)
    tensor = encoded(weight, 4)
    assert tensor.format == RawFormat("f32")
    assert reference.decode(tensor).tobytes() == weight.tobytes()


def test_vectors_and_small_matrices_stay_raw() -> None:
    assert isinstance(encoded(normal(4096), 4).format, RawFormat)
    assert isinstance(encoded(normal(3, 9), 4).format, RawFormat)
    weight = normal(32, 64)
    weight.reshape(-1)[700] = np.nan
    with pytest.raises(WeightError, match="weight 700 is nan"):
        encoded(weight, 4)


@pytest.mark.parametrize("bits", [0, 1, 3, 16, 4.5, float("nan"), float("inf")])
def test_bits_that_are_not_known(bits: float) -> None:
    with pytest.raises(SettingsError, match="expected 2, 4 or 8"):
        UniformSettings(bits)


@pytest.mark.parametrize("group", [0, 1, 31, 33, 48, (1 << 16) + 32, -32])
def test_groups_that_are_not_known(group: int) -> None:
    with pytest.raises(SettingsError, match="expected a multiple of 32 up to 65536"):
        UniformSettings(4, group)
