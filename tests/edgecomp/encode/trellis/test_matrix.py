"""Matrices: rotation, row scales, feedback, and shapes and rows that are out of the ordinary."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecomp.encode import ArraySource, TrellisSettings, WeightError, encode
from edgecomp.encode.trellis import matrix
from edgecomp.encode.trellis.codes import code_for
from edgecomp.encode.trellis.matrix import (
    MatrixEncoder,
    ScaledSpan,
    best_factors,
    encode_matrix,
    make_spans,
    rotated_hessian,
    rotated_weight,
    rotation_of,
)
from runtime_ops import native, reference
from runtime_ops.formats import EncodedTensor, RawFormat, TrellisFormat

SHAPES = [(1, 1), (1, 7), (17, 5), (5, 3), (16, 4), (31, 66), (40, 200)]


def gaussian(shape: tuple[int, ...], seed: int = 1) -> NDArray[np.float32]:
    """Unit Gaussian weights."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def a_hessian(columns: int, seed: int = 2) -> NDArray[np.float64]:
    """Of inputs that depend on one another strongly."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((4 * columns, columns)) @ rng.standard_normal((columns, columns))
    return inputs.T @ inputs / len(inputs) + np.eye(columns)


def loss(error: NDArray[np.floating], hessian: NDArray[np.float64]) -> float:
    """tr(E H E^T)."""
    return float(np.sum(error @ hessian * error))


def decoded(tensor: EncodedTensor) -> NDArray[np.float32]:
    """The tensor's weights, the same from C and numpy."""
    weights = native.decode(tensor)
    np.testing.assert_array_equal(weights, reference.decode(tensor))
    return weights


@pytest.mark.parametrize(("columns", "rotation"), [(64, 16), (96, 32), (8, 2), (12, 0)])
def test_rotated_weights_and_hessians_are_products_with_the_rotation(
    columns: int, rotation: int
) -> None:
    """W = V R, and R H R^T, with R column by column from the reference."""
    span = make_spans([code_for(2, 8)], [columns], [rotation], seed=7)[0]
    rotator = reference.rotate(span.format, np.eye(columns, dtype=np.float32)).T
    weight, hessian = gaussian((5, columns)), a_hessian(columns)
    stored = rotated_weight(span.format, weight)
    np.testing.assert_allclose(stored @ rotator, weight, atol=1e-5)
    expected = rotator @ hessian @ rotator.T
    scale = np.abs(expected).max()
    np.testing.assert_allclose(rotated_hessian([span], hessian), expected, atol=1e-9 * scale)


def test_spans_rotate_their_own_columns_of_a_hessian() -> None:
    """Columns of a first span without a rotation stay, beside those of one with it."""
    code = code_for(2, 8)
    spans = make_spans([code, code], [8, 32], [0, 16], seed=3)
    rotator = np.eye(40)
    rotator[8:, 8:] = reference.rotate(spans[1].format, np.eye(32, dtype=np.float32)).T
    hessian = a_hessian(40)
    expected = rotator @ hessian @ rotator.T
    np.testing.assert_allclose(rotated_hessian(spans, hessian), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("columns", "block"), [(1, 0), (5, 0), (6, 2), (96, 32), (4096, 4096), (1 << 14, 4096)]
)
def test_rotation_of(columns: int, block: int) -> None:
    """The largest power of two that divides the columns, up to 4,096."""
    assert rotation_of(columns) == block


@pytest.mark.parametrize("weighted", [False, True])
def test_best_factors_are_least_squares_optimal(weighted: bool) -> None:
    """Any other factor of a row costs more; a row of zeros keeps its factor."""
    hessian = a_hessian(24) if weighted else None
    wanted = gaussian((6, 24))
    values = 1.3 * wanted + 0.2 * gaussian((6, 24), seed=9)
    values[5] = 0
    values[4] *= -1
    factors = best_factors(wanted, values, hessian)
    assert factors[5] == 1
    assert factors[4] == 0
    metric = np.eye(24) if hessian is None else hessian
    for row in range(4):
        best = loss((wanted[row] - factors[row] * values[row])[None], metric)
        for other in (0.999 * factors[row], 1.001 * factors[row]):
            assert best < loss((wanted[row] - other * values[row])[None], metric)


@pytest.mark.parametrize(("bits", "columns"), [(2, 20), (1.5, 12), (3, 150)])
def test_targets_are_those_of_the_recursion(bits: float, columns: int) -> None:
    """An error E_a of a strip adds E_a Q_ab Q_bb^-1 to strip b before it, H = Q Q^T."""
    hessian, weight = a_hessian(columns), gaussian((16, columns))
    spans = make_spans([code_for(bits, 8)], [columns], [0], 0)
    encoder = MatrixEncoder(spans, hessian)
    scaled = ScaledSpan(spans[0], weight)
    wanted = scaled.targets.astype(np.float64)
    job = encoder.encode_span(scaled)
    padded = np.eye(job.targets.shape[1])
    padded[:columns, :columns] = hessian
    lower = np.linalg.cholesky(padded)
    errors = wanted - job.values
    for b in range(0, len(padded), 4):
        own = slice(b, b + 4)
        pushed = errors[:, b + 4 :] @ lower[b + 4 :, own] @ np.linalg.inv(lower[own, own])
        expected = wanted[:, own] + pushed
        np.testing.assert_allclose(job.targets[:, own], expected, rtol=2e-4, atol=0.02)


@pytest.mark.parametrize("rotation", [0, 32])
def test_feedback_lowers_the_loss(rotation: int) -> None:
    """By a third at least where inputs depend on one another."""
    hessian, weight = a_hessian(96), gaussian((32, 96))
    plain = encode_matrix(weight, code_for(2, 8), None, rotation, 5)
    fed = encode_matrix(weight, code_for(2, 8), hessian, rotation, 5)
    assert loss(weight - fed.weights, hessian) < 0.67 * loss(weight - plain.weights, hessian)


def test_windows_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Feedback within windows of 128 columns and between them is that in one window."""
    hessian, weight = a_hessian(320), gaussian((256, 320))
    losses = []
    for window in (128, 32, 1024):
        monkeypatch.setattr(matrix, "WINDOW", window)
        coded = encode_matrix(weight, code_for(2, 8), hessian)
        losses.append(loss(weight - coded.weights, hessian))
    assert losses == pytest.approx([losses[0]] * 3, rel=0.03)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("bits", "state_bits"), [(1, 12), (2.5, 10), (4, 8)])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_has_codes(
    shape: tuple[int, int], bits: float, state_bits: int, weighted: bool
) -> None:
    """Codes of the length that the format says, which decode to the values, not far from W."""
    weight = gaussian(shape)
    hessian = a_hessian(shape[1]) if weighted else None
    coded = encode_matrix(weight, code_for(bits, state_bits), hessian, rotation_of(shape[1]), 1)
    assert coded.codes.size == coded.format.part_specs(shape)[0].size
    states = reference.trellis_states(coded.format, {"codes": coded.codes}, shape)
    places = reference.trellis_places(coded.format, states, shape)
    np.testing.assert_array_equal(coded.format.table.array[places], coded.values)
    metric = np.eye(shape[1]) if hessian is None else hessian
    assert loss(weight - coded.weights, metric) < loss(weight, metric)


@pytest.mark.parametrize("bits", [1.0, 1.5, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("shape", [*SHAPES, (48, 3, 7), (64, 8, 2, 2)])
def test_tensors_keep_their_error_bound(shape: tuple[int, ...], bits: float) -> None:
    """No step's weights are farther from the decoded ones than the bound, some nearly so far."""
    weight = gaussian(shape)
    tensor = encode(ArraySource(weight), TrellisSettings(bits, 8))
    error = np.abs(decoded(tensor).astype(np.float64) - weight).reshape(shape[0], -1)
    if isinstance(tensor.format, RawFormat):
        assert not error.any()
        return
    assert isinstance(tensor.format, TrellisFormat)
    dim = tensor.format.dim
    padded = np.pad(error, ((0, 0), (0, -error.shape[1] % dim)))
    steps = np.sqrt(np.square(padded.reshape(-1, dim)).sum(axis=1))
    assert tensor.error_bound is not None
    assert 0.999 * tensor.error_bound <= steps.max() <= tensor.error_bound


@pytest.mark.parametrize("rotate", [False, True])
def test_rows_of_zeros_and_of_one_number(rotate: bool) -> None:
    """Zeros stay zeros exactly; a constant row is not much farther off than others."""
    weight = gaussian((32, 256))
    weight[3], weight[7], weight[20:] = 0, 1, 0
    tensor = encode(ArraySource(weight), TrellisSettings(2.0, 8, rotate=rotate))
    assert isinstance(tensor.format, TrellisFormat)
    found = decoded(tensor)
    assert not found[3].any()
    assert not found[20:].any()
    assert np.square(found[7] - 1).mean() < 0.15
    everything = encode(ArraySource(np.zeros((32, 256), np.float32)), TrellisSettings(2.0, 8))
    assert not decoded(everything).any()


@pytest.mark.parametrize("factor", [1e-30, 1e-36, 1e-38, 1e-40, 1e-45])
def test_row_of_tiny_weights_leaves_its_band_alone(factor: float) -> None:
    """The row becomes zeros, since no file holds its scale; the others lose nothing by it."""
    weight = gaussian((32, 256))
    weight[3] *= np.float32(factor)
    tensor = encode(ArraySource(weight), TrellisSettings(2.0, 8))
    error = np.square(decoded(tensor) - weight).mean(axis=1)
    assert not decoded(tensor)[3].any()
    assert np.delete(error, 3).max() < 0.15


@pytest.mark.parametrize("factor", [1e-38, 1e-20, 1e25, 1e30, 1e37])
def test_weights_whose_scales_no_file_holds_stay_raw(factor: float) -> None:
    """Also where sums in the rotation overflow, and where squares do."""
    weight = gaussian((32, 256)) * np.float32(factor)
    tensor = encode(ArraySource(weight), TrellisSettings(2.0, 8))
    assert isinstance(tensor.format, RawFormat)
    np.testing.assert_array_equal(decoded(tensor).reshape(weight.shape), weight)


def test_rows_of_different_scales_have_errors_of_their_scale() -> None:
    """Rows 10^4 apart; those of different bands share nothing but the factor of the scales."""
    weight = gaussian((64, 256))
    weight *= np.repeat(np.float32([1e-2, 1, 1e2, 1e-1]), 16)[:, None]
    tensor = encode(ArraySource(weight), TrellisSettings(2.0, 8, rotate=False))
    error = np.square(decoded(tensor) - weight).mean(axis=1) / np.square(weight).mean(axis=1)
    assert error.max() < 0.15


@pytest.mark.parametrize("factors", [(1e-30, 1e30), (1e-30, 1e-30), (1e30, 1e30)])
def test_scales_that_no_file_can_hold_leave_weights_as_they_are(
    factors: tuple[float, float],
) -> None:
    """The tensor is raw, and equal."""
    weight = gaussian((32, 256))
    weight *= np.where(np.arange(32) % 2, factors[0], factors[1]).astype(np.float32)[:, None]
    tensor = encode(ArraySource(weight), TrellisSettings(2.0, 8))
    assert isinstance(tensor.format, RawFormat)
    np.testing.assert_array_equal(decoded(tensor), weight)


@pytest.mark.parametrize(("large", "tiny"), [(1.0, 1e-12), (1e20, 1e-20)])
def test_a_tiny_row_beside_large_ones_is_finite(large: float, tiny: float) -> None:
    """Its scale is below those that float16 holds beside the largest, and becomes 0."""
    weight = gaussian((32, 256)) * np.float32(large)
    weight[5] = gaussian((256,)) * np.float32(tiny)
    tensor = encode(ArraySource(weight), TrellisSettings(2.0, 8, rotate=False))
    assert isinstance(tensor.format, TrellisFormat)
    found = decoded(tensor)
    assert not found[5].any()
    assert np.square((found - weight) / large).mean() < 0.1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    """With the place of the first of them."""
    weight = gaussian((32, 64))
    weight[2, 3] = bad
    with pytest.raises(WeightError, match=r"weight 131 is (nan|-?inf), expected finite weights"):
        encode(ArraySource(weight), TrellisSettings(2.0, 8))
