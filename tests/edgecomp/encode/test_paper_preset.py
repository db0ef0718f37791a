"""The preset `paper`: the published scheme, its bit counts and its choices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecomp.encode import ArraySource, PaperSettings, encode, paper_settings_for_bits
from edgecomp.encode.paper_preset import paper_format
from runtime_ops import EncodedTensor, RawFormat, WindingFormat, reference

RNG = np.random.default_rng(20261122)


def gaussian(*shape: int, sigma: float = 0.02) -> NDArray[np.float32]:
    """Weights of a given standard deviation."""
    return RNG.normal(0, sigma, shape).astype(np.float32)


def winding(tensor: EncodedTensor) -> WindingFormat:
    """The tensor's format, which must be a winding."""
    assert isinstance(tensor.format, WindingFormat)
    return tensor.format


@pytest.mark.parametrize(
    ("points", "bits"),
    [(225, [4.0, 4.5, 5.0, 5.0]), (1600, [5.5, 6.0, 6.5, 6.5, 6.5])],
)
def test_published_bits_per_weight(points: int, bits: list[float]) -> None:
    """hyper.md 3: the table of bits per weight over M."""
    assert [paper_format(points, m).index_bpw for m in range(len(bits))] == bits


def test_points_are_the_published_ones() -> None:
    """hyper.md 1.2: p_k = c - l/2 + l (frac(k / m**2), frac(k / m)), the centre first, exactly."""
    for points in (225, 200, 1600, 65536):
        fmt = paper_format(points, 0)
        side = math.isqrt(points - 1) + 1
        k = np.arange(points)
        # scale 1 / N: values -1 .. 1 over the box
        params = np.array([0, 0, 1 / fmt.levels], np.float32)
        decoded = reference.decode_f32_wd(
            fmt, np.arange(points + 1, dtype=np.uint32), params, np.ones(1, np.float32)
        )
        assert (decoded[0] == 0).all()
        numerators = np.stack([k % side**2, k % side * side], axis=1)
        assert np.array_equal(np.rint((decoded[1:] + 1) / 2 * side**2), numerators)


def test_nearest_point_equals_brute_force() -> None:
    """The lattice search finds what comparing with all points finds (distance, not index).

    A number of points that is not square leaves a gap at one side, next to which a few targets get
    the second nearest.
    """
    for points in (225, 200, 1600):
        weights = gaussian(2048, 2)
        tensor = encode(ArraySource(weights), PaperSettings(points=(points,), classes=0, box=0.06))
        fmt = winding(tensor)
        params = tensor.parts["params"].astype(np.float32)
        codebook = reference.decode_f32_wd(
            fmt, np.arange(fmt.radix, dtype=np.uint32), params, np.ones(1, np.float32)
        ).astype(np.float64)
        distances = np.sqrt(((weights[:, None].astype(np.float64) - codebook) ** 2).sum(-1)).min(1)
        ours = np.sqrt(((weights - reference.decode(tensor)) ** 2).sum(-1))
        inside = np.abs(weights - params[:2]).max(1) <= 0.03
        assert inside.any()
        assert not inside.all()
        exact = np.isclose(ours[inside], distances[inside], rtol=1e-4, atol=1e-8)
        assert exact.mean() >= (0.998 if points == 200 else 1.0)
        # outside the box (with classes it would be shrunk into it) the search may miss by a little
        assert (ours[~inside] <= distances[~inside] + 0.06 / math.sqrt(points)).all()


def test_relative_error_of_the_published_setting() -> None:
    """hyper.md 5.3: 1.41e-3 at 6.0 bits for sigma 0.02, box 0.1, U 1600; 9.5e-3 at U 225."""
    weights = gaussian(1024, 1024)
    for points, expected, bits in ((1600, 1.41e-3, 6.0), (225, 9.5e-3, 5.0)):
        tensor = encode(ArraySource(weights), PaperSettings(points=(points,)))
        error = np.square(reference.decode(tensor) - weights).sum() / np.square(weights).sum()
        assert abs(error / expected - 1) < 0.05
        assert winding(tensor).index_bpw == bits


def test_classes_follow_the_mean_absolute_error() -> None:
    """hyper.md 2: the best M, ties to the larger, stopping at the first within the target."""
    weights = gaussian(512, 512, sigma=0.03)

    def mean_absolute_error(classes: int) -> float:
        settings = PaperSettings(classes=classes, target_error=0.0)
        return float(
            np.abs(reference.decode(encode(ArraySource(weights), settings)) - weights).mean()
        )

    by_limit = {m: mean_absolute_error(m) for m in (1, 2, 3, 4)}
    chosen = winding(encode(ArraySource(weights), PaperSettings(classes=4, target_error=0.0)))
    assert chosen.classes - 1 == min(by_limit, key=lambda m: (by_limit[m], -m))
    # a target that M = 1 meets ends the search there
    easy = PaperSettings(classes=4, target_error=by_limit[1] * 1.001)
    assert winding(encode(ArraySource(weights), easy)).classes == 2


def test_more_points_only_when_needed() -> None:
    """U_list is tried in ascending order; the last is taken whatever its error."""
    weights = gaussian(256, 256)
    points = (225, 1600, 4096)
    for max_error, expected in ((1.0, 225), (9e-4, 1600), (1e-9, 4096)):
        settings = PaperSettings(points=points, max_error=max_error)
        assert winding(encode(ArraySource(weights), settings)).points == expected


def test_no_classes_when_all_is_inside() -> None:
    """M = 0 and 5.5 bits when no pair is outside the box."""
    tensor = encode(ArraySource(gaussian(64, 64, sigma=0.005)), PaperSettings())
    assert winding(tensor).index_bpw == 5.5


def test_odd_length_pads_with_the_mean() -> None:
    """One pair is padded and the pad dropped; the others are as without it."""
    weights = gaussian(11, 3)
    tensor = encode(ArraySource(weights), PaperSettings())
    decoded = reference.decode(tensor)
    assert decoded.shape == (11, 3)
    assert np.abs(decoded - weights).max() <= tensor.error_bound


@pytest.mark.parametrize("n", [1, 2, 9, 10])
def test_fewer_than_ten_weights_stay_raw(n: int) -> None:
    """hyper.md 2: numel < 10 is stored raw, and exactly."""
    weights = gaussian(n)
    tensor = encode(ArraySource(weights), PaperSettings())
    assert isinstance(tensor.format, RawFormat) == (n < 10)
    if n < 10:
        assert np.array_equal(reference.decode(tensor), weights)


def test_raw_fallback_above_the_error_limit() -> None:
    """A tensor whose mean absolute error exceeds raw_error is stored raw, unless that is None."""
    weights = gaussian(100, 100, sigma=5.0)
    assert isinstance(encode(ArraySource(weights), PaperSettings()).format, RawFormat)
    kept = encode(ArraySource(weights), PaperSettings(raw_error=None))
    assert isinstance(kept.format, WindingFormat)


def test_bits_choose_a_square_number_of_points() -> None:
    """--bits 4 is the published U = 225."""
    assert paper_settings_for_bits(4).points == (225,)
    assert paper_settings_for_bits(5.5).points == (2025,)
    for bits in (2, 3, 4.5, 6, 8):
        points = paper_settings_for_bits(bits).points[0]
        assert paper_format(points, 0).index_bpw <= bits
        assert math.isqrt(points) ** 2 == points
