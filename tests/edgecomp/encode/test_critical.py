"""Critical columns in the lattice preset: which they are, what they cost, and what they save."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecomp.encode import (
    ArraySource,
    InputStatistics,
    LatticeSettings,
    SettingsError,
    WeightError,
    encode,
)
from edgecomp.encode import blocks as blocks_module
from edgecomp.encode.critical import READ_WEIGHTS, ColumnSource, column_order, count_critical
from runtime_ops import EncodedTensor, RawFormat, WindingFormat, native, reference
from runtime_ops.formats import ColumnsFormat
from runtime_ops.formats.encoded import matrices

ROWS, COLUMNS = 256, 384
OUTLIERS = np.array([300, 7, 128, 41, 200, 64, 383, 0])  # inputs that are larger, falling


@pytest.fixture
def weights() -> NDArray[np.float32]:
    """Gaussian weights, float32 (ROWS, COLUMNS)."""
    return np.random.default_rng(0).normal(0, 0.02, (ROWS, COLUMNS)).astype(np.float32)


@pytest.fixture
def diagonal() -> NDArray[np.float32]:
    """Mean squares of inputs with eight outliers, float32 (COLUMNS,)."""
    inputs = np.exp(np.random.default_rng(1).normal(0, 0.3, COLUMNS))
    inputs[OUTLIERS] = 1000 / np.arange(1, 9)
    return inputs.astype(np.float32)


def columns_of(tensor: EncodedTensor) -> ColumnsFormat:
    assert isinstance(tensor.format, ColumnsFormat)
    return tensor.format


def order_of(tensor: EncodedTensor) -> NDArray[np.int64]:
    order = columns_of(tensor).order
    assert order is not None
    return order


def stored_bpw(tensor: EncodedTensor) -> float:
    """Bits per weight of all parts, and of the permutation where there is one."""
    permutation = 2 * tensor.shape[1] if isinstance(tensor.format, ColumnsFormat) else 0
    return 8 * (tensor.n_bytes + permutation) / tensor.n_weights


def loss(tensor: EncodedTensor, weights: NDArray[np.float32], diagonal: NDArray[Any]) -> float:
    """Mean square error of the product, inputs independent with these mean squares."""
    off = native.decode(tensor).astype(np.float64) - weights
    return float((off**2 * diagonal).sum() / len(weights))


def test_outliers_are_worth_more_than_bits(weights, diagonal) -> None:
    """3.3 bits with critical columns lose less than 3.3 bits without, and no more than 4 bits."""
    tensor = encode(
        ArraySource(weights), LatticeSettings(bits=3, critical=0.02), "w", InputStatistics(diagonal)
    )
    same_size = encode(ArraySource(weights), LatticeSettings(bits=3.3))
    one_more = encode(ArraySource(weights), LatticeSettings(bits=4))
    assert stored_bpw(tensor) < stored_bpw(same_size) < 3.4
    assert loss(tensor, weights, diagonal) < 0.3 * loss(same_size, weights, diagonal)
    assert loss(tensor, weights, diagonal) < loss(one_more, weights, diagonal)
    assert set(order_of(tensor)[:8]) == set(OUTLIERS)


@pytest.mark.parametrize("importance", ["weight", "random"])
def test_other_rankings_know_nothing_of_inputs(weights, diagonal, importance: Any) -> None:
    """With equal weights they find outliers of the input no better than chance."""
    settings = LatticeSettings(bits=3, critical=0.02, importance=importance)
    tensor = encode(ArraySource(weights), settings, "w")
    by_activation = encode(
        ArraySource(weights), LatticeSettings(bits=3, critical=0.02), "w", InputStatistics(diagonal)
    )
    assert stored_bpw(tensor) == stored_bpw(by_activation)
    assert loss(tensor, weights, diagonal) > 3 * loss(by_activation, weights, diagonal)


def test_scores_by_hand(weights, diagonal) -> None:
    """activation: mean of w^2 times the input's mean square; weight: mean of |w|."""
    uneven = weights * np.geomspace(1, 30, COLUMNS)[::-1].astype(np.float32)
    exact = uneven.astype(np.float64)
    expected = {
        "activation": (exact**2).mean(0) * diagonal,
        "weight": np.abs(exact).mean(0),
    }
    importance: Any
    for importance, scores in expected.items():
        settings = LatticeSettings(critical=0.1, importance=importance)
        order = order_of(encode(ArraySource(uneven), settings, "w", InputStatistics(diagonal)))
        assert order[:40].tolist() == np.argsort(-scores)[:40].tolist()


@pytest.mark.parametrize(
    ("shape", "share", "expected"),
    [
        ((5, 384), 0.02, 8),
        ((5, 384), 0.0001, 8),  # at least
        ((5, 384), 0.05, 16),  # 19.2, rounded
        ((5, 384), 0.06, 24),
        ((5, 384), 0.5, 192),
        ((5, 384), 0.0, 0),
        ((5, 32), 0.5, 16),
        ((5, 33), 0.01, 8),
        ((5, 31), 0.5, 0),  # too narrow
        ((384,), 0.5, 0),
        ((5, 384, 3), 0.5, 0),
    ],
)
def test_number_of_critical_columns(shape: tuple[int, ...], share: float, expected: int) -> None:
    assert count_critical(shape, share) == expected


def test_order() -> None:
    """Critical columns by falling score, the first of equal ones; the rest as it was."""
    scores = np.array([1.0, 5, 2, 5, 0, 7, 2])
    assert column_order(scores, 3).tolist() == [5, 1, 3, 0, 2, 4, 6]
    assert column_order(scores, 4).tolist() == [5, 1, 3, 2, 0, 4, 6]
    assert column_order(np.zeros(5), 2).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("shape", [(1, 32), (3, 33), (17, 100), (256, 384), (2, 3000)])
@pytest.mark.parametrize(
    "settings",
    [
        LatticeSettings(bits=2, critical=0.1),
        LatticeSettings(bits=3, critical=0.5, critical_bits=6, group=32),
        LatticeSettings(bits=4, critical=0.02, critical_bits=12, dim=2, companded=False),
        LatticeSettings(points=1600, critical=0.2, critical_bits=5, group=2, importance="weight"),
    ],
    ids=str,
)
def test_decodes_alike_within_its_bound(shape: tuple[int, int], settings: LatticeSettings) -> None:
    """C equals the reference, both matrices are the lattice preset's own, and the bound holds."""
    rng = np.random.default_rng(2)
    weights = rng.standard_t(4, shape).astype(np.float32)
    diagonal = rng.exponential(1, shape[1]).astype(np.float32)
    tensor = encode(ArraySource(weights), settings, "w", InputStatistics(diagonal))
    decoded = reference.decode(tensor)
    assert np.array_equal(native.decode(tensor), decoded)
    x = rng.standard_normal(shape[1]).astype(np.float32)
    assert np.array_equal(native.gemv(tensor, x), reference.gemv(tensor, x))
    order, n = order_of(tensor), columns_of(tensor).n_critical
    assert sorted(order) == list(range(shape[1]))
    assert n == count_critical(shape, settings.critical)
    halves = [
        (settings.critical_part, order[:n]),
        (settings, order[n:]),
    ]
    bounds = []
    for (part, columns), (fmt, arrays) in zip(halves, matrices(tensor), strict=True):
        alone = encode(
            ArraySource(weights[:, columns]),
            LatticeSettings(bits=part.bits, dim=part.dim, points=part.points, group=part.group,
                            companded=part.companded),
        )  # fmt: skip
        assert fmt == alone.format
        assert all(np.array_equal(arrays[name], array) for name, array in alone.parts.items())
        assert np.array_equal(decoded[:, columns], reference.decode(alone))
        bounds.append(alone.error_bound)
    assert tensor.error_bound == max(bounds)


def test_expected_bits_are_the_real_ones() -> None:
    """Codes, scales; only the permutation, 16 bits for a column, comes on top."""
    weights = np.random.default_rng(3).normal(0, 1, (1024, 1280)).astype(np.float32)
    for settings in (
        LatticeSettings(bits=3, critical=0.1, importance="random"),
        LatticeSettings(bits=2, critical=0.5, critical_bits=4, importance="weight"),
    ):
        real = stored_bpw(encode(ArraySource(weights), settings))
        plain = LatticeSettings(bits=settings.bits).expected_bpw
        assert real - 16 / 1024 == pytest.approx(settings.expected_bpw, rel=0.002)
        assert plain < settings.expected_bpw < settings.critical_part.expected_bpw


def test_no_critical_columns_is_the_preset_as_it_was(weights) -> None:
    plain = encode(ArraySource(weights), LatticeSettings(bits=3))
    off = encode(ArraySource(weights), LatticeSettings(bits=3, critical_bits=6, seed=5))
    assert plain.format == off.format
    assert all(np.array_equal(part, off.parts[name]) for name, part in plain.parts.items())


@pytest.mark.parametrize("shape", [(500,), (4, 8, 12), (100, 31)])
def test_what_is_no_wide_matrix_has_none(shape: tuple[int, ...]) -> None:
    weights = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    tensor = encode(ArraySource(weights), LatticeSettings(critical=0.5))
    assert isinstance(tensor.format, RawFormat if len(shape) == 1 else WindingFormat)


@pytest.mark.slow
def test_same_bytes_for_any_number_of_threads(
    weights, diagonal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a matrix is read in many pieces; other seeds and names draw other columns."""
    high = np.tile(weights, (4, 1))

    def parts(settings: LatticeSettings, name: str = "w") -> tuple[Any, ...]:
        tensor = encode(ArraySource(high), settings, name, InputStatistics(diagonal))
        arrays = {part: array.tobytes() for part, array in tensor.parts.items()}
        return arrays, order_of(tensor).tolist()

    importance: Any
    for importance in ("activation", "weight", "random"):
        settings = LatticeSettings(critical=0.1, importance=importance)
        first = parts(settings)
        monkeypatch.setattr(blocks_module, "usable_cores", lambda: 1)
        assert parts(settings) == first
        monkeypatch.setattr(blocks_module, "usable_cores", lambda: 7)
        assert parts(settings) == first
    drawn = LatticeSettings(critical=0.1, importance="random")
    assert parts(drawn, "v")[1] != parts(drawn)[1]
    assert parts(LatticeSettings(critical=0.1, importance="random", seed=1))[1] != parts(drawn)[1]


class LargeSource:
    """A matrix that is made when it is read, and the most weights that were read at once."""

    def __init__(self, rows: int, columns: int) -> None:
        self.shape: tuple[int, ...] = (rows, columns)
        self.most = 0

    def read(self, first: int, count: int) -> NDArray[np.float32]:
        """See WeightSource."""
        self.most = max(self.most, count)
        places = np.arange(first, first + count, dtype=np.uint32) * np.uint32(0x9E3779B1)
        return (places.view(np.int32) * 2.0**-31).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [256, 65536])
def test_reads_a_few_rows_at_once(columns: int) -> None:
    """16 million weights, 64 MB, in less than 24 MB: 8 of 256 columns are not gathered at once."""
    source = LargeSource((1 << 24) // columns, columns)
    settings = LatticeSettings(
        bits=1, dim=1, critical=8 / columns, critical_bits=1, importance="weight", reach=0
    )
    tracemalloc.start()
    tensor = encode(source, settings)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert columns_of(tensor).n_critical == 8
    assert source.most == READ_WEIGHTS
    assert peak < 24e6


def test_column_source_reads_any_range() -> None:
    matrix = np.random.default_rng(0).normal(0, 1, (50, 5000)).astype(np.float32)
    columns = np.array([4999, 0, 17, 3, 2500])
    chosen = ColumnSource(ArraySource(matrix), columns)
    flat = matrix[:, columns].reshape(-1)
    assert chosen.shape == (50, 5)
    for first, count in ((0, 250), (0, 1), (7, 11), (4, 1), (5, 5), (249, 1), (100, 150)):
        read = chosen.read(first, count)
        assert read.dtype == np.float32
        assert np.array_equal(read, flat[first : first + count])


@pytest.mark.parametrize("which", ["critical", "rest"])
def test_a_matrix_without_a_scale_stays_raw(weights, which: str) -> None:
    """Weights of 1e-32 have none; the other matrix is coded as ever."""
    tiny = slice(0, 8) if which == "critical" else slice(8, None)
    weights[:, tiny] *= np.float32(1e-30)
    inputs = np.full(COLUMNS, 1e-30, np.float32)
    inputs[:8] = 1e38  # critical in either case
    tensor = encode(
        ArraySource(weights), LatticeSettings(critical=0.02), "w", InputStatistics(inputs)
    )
    raw = [isinstance(fmt, RawFormat) for fmt, _ in matrices(tensor)]
    assert raw == [which == "critical", which == "rest"]
    decoded = reference.decode(tensor)
    assert np.array_equal(native.decode(tensor), decoded)
    assert np.array_equal(decoded[:, tiny], weights[:, tiny])
    assert np.abs(decoded - weights).max() <= tensor.error_bound


@pytest.mark.parametrize(
    ("diagonal", "message"),
    [
        (None, 'importance "activation" needs the mean square of every input'),
        (np.ones(40, np.float32), "statistics of 40 inputs, expected 64"),
        (np.full(64, np.nan, np.float32), "mean square of input 0 is nan, expected 0 or more"),
        (np.arange(63, -1, -1, np.float32) - 1, "mean square of input 63 is -1.0, expected 0"),
    ],
)
def test_inputs_that_rank_nothing(diagonal: NDArray[np.float32] | None, message: str) -> None:
    weights = np.ones((4, 64), np.float32)
    given = None if diagonal is None else InputStatistics(diagonal)
    with pytest.raises(WeightError, match=message):
        encode(ArraySource(weights), LatticeSettings(critical=0.2), "w", given)


@pytest.mark.parametrize("importance", ["activation", "weight", "random"])
def test_weights_that_are_not_finite(weights, diagonal, importance: Any) -> None:
    weights[3, 5] = np.nan
    with pytest.raises(WeightError, match="weight 1157 is nan, expected finite weights"):
        encode(
            ArraySource(weights),
            LatticeSettings(critical=0.1, importance=importance),
            "w",
            InputStatistics(diagonal),
        )


def test_more_columns_than_a_permutation_names() -> None:
    source = LargeSource(2, 65537)
    with pytest.raises(WeightError, match="65537 columns, expected at most 65536"):
        encode(source, LatticeSettings(critical=0.1, importance="weight"))
    assert source.most == 0
    plain = encode(source, LatticeSettings())
    assert plain.shape == (2, 65537)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"critical": 0.51}, "critical is 0.51, expected 0..0.5"),
        ({"critical": -0.1}, "critical is -0.1, expected 0..0.5"),
        ({"critical": float("nan")}, "critical is nan"),
        ({"critical_bits": 0.2}, "critical_bits is 0.2, expected 0.25..24"),
        ({"critical_bits": 25}, "critical_bits is 25, expected 0.25..24"),
        ({"importance": "obs"}, "importance is obs, expected activation or weight or random"),
        ({"seed": -1}, "seed is -1, expected 0 or more"),
    ],
)
def test_settings_that_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        LatticeSettings(**given)
