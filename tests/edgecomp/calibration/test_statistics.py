"""Statistics are read back, and damaged ones are refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecomp import pipeline
from edgecomp.calibration import CalibrateSettings, CalibrationError, Statistics, open_statistics

SMALL = CalibrateSettings(windows=4, context=16, device="cpu")
Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def stats(llama: Path, text: Path, tmp_path: Path) -> Path:
    """The statistics of a tiny Llama."""
    pipeline.calibrate(llama, text, tmp_path / "stats", SMALL)
    return tmp_path / "stats"


def message(path: Path, ask: Callable[[Statistics], object] = lambda found: None) -> str:
    """The one line that opening statistics, or asking them, fails with."""
    with pytest.raises(CalibrationError) as caught:
        ask(open_statistics(path))
    assert caught.value.hint
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ask", [Statistics.hessian, Statistics.diagonal, Statistics.site])
def test_tensors_without_statistics(stats: Path, ask: Callable[[Statistics, str], object]) -> None:
    found = message(stats, lambda statistics: ask(statistics, "model.norm.weight"))
    assert "has no statistics for tensor model.norm.weight" in found


def test_no_statistics(tmp_path: Path) -> None:
    assert "no statistics at" in message(tmp_path / "nothing")
    assert "not a folder of statistics" in message(tmp_path)


def test_results_are_the_callers(stats: Path) -> None:
    """What is returned may be written to."""
    statistics = open_statistics(stats)
    kept = statistics.diagonal(Q).copy()
    statistics.hessian(Q)[:] = 0
    statistics.diagonal(Q)[:] = 0
    assert np.array_equal(statistics.diagonal(Q), kept)
    assert kept.min() > 0


def changed(index: dict[str, Any], path: tuple[str | int, ...], value: object) -> str:
    """The index as JSON with one value changed."""
    place: Any = index
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(index)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("tokens",), 0),
        (("tokens",), "many"),
        (("job",), None),
        (("job", "windows"), 0),
        (("sites",), {}),
        (("sites", 0), 7),
        (("sites", 0, "columns"), 8),
        (("sites", 0, "columns"), None),
        (("sites", 0, "tensors"), []),
        (("sites", 0, "tensors"), ["other"]),
        (("sites", 1, "tensors"), [Q]),
        (("sites", 0, "file"), "../stats/block-00000.safetensors"),
        (("sites", 0, "file"), "block-00009.safetensors"),
    ],
)
def test_wrong_index(path: tuple[str | int, ...], value: object, stats: Path) -> None:
    index = json.loads((stats / "index.json").read_text())
    (stats / "index.json").write_text(changed(index, path, value))
    assert "is damaged" in message(stats)


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100000, '{"version": 1}', "\xff"])
def test_index_that_is_none(content: str, stats: Path) -> None:
    (stats / "index.json").write_bytes(content.encode("latin-1"))
    assert "is damaged" in message(stats)


def test_truncated_matrices(stats: Path) -> None:
    file = stats / "block-00001.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    assert "truncated" in message(stats)
    file.unlink()
    assert "is damaged" in message(stats)


def test_matrices_that_are_not_finite(stats: Path) -> None:
    file = stats / "block-00000.safetensors"
    raw = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(raw[:8], "little")
    raw[start : start + 4] = np.float32(np.nan).tobytes()
    file.write_bytes(raw)
    assert "not finite" in message(stats, lambda found: found.hessian(Q))
    assert "no valid diagonal" in message(stats, lambda found: found.diagonal(Q))


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [((0, 0), -1.0, "no valid diagonal"), ((0, 1), 1000.0, "not a mean of x x^T"),
     ((5, 2), 0.3, "not a mean of x x^T"), ((slice(None), slice(None)), 1e20, None)],
)  # fmt: skip
def test_matrices_that_are_no_covariance(
    stats: Path, place: tuple[Any, Any], value: float, reason: str | None
) -> None:
    """Not symmetric, negative, or larger than the diagonal allows; a constant one is possible."""
    file = stats / "block-00000.safetensors"
    matrix = open_statistics(stats).hessian(Q)
    data = file.read_bytes()
    changed = matrix.copy()
    changed[place] = value
    assert data.count(matrix.tobytes()) == 1
    file.write_bytes(data.replace(matrix.tobytes(), changed.tobytes()))
    if reason is None:
        assert np.array_equal(open_statistics(stats).hessian(Q), changed)
    else:
        assert reason in message(stats, lambda found: found.hessian(Q))


def test_files_that_shrink_after_opening(stats: Path) -> None:
    statistics = open_statistics(stats)
    (stats / "block-00000.safetensors").write_bytes(b"short")
    with pytest.raises(CalibrationError, match="is damaged"):
        statistics.hessian(Q)
    with pytest.raises(CalibrationError, match="is damaged"):
        statistics.diagonal(Q)
