"""Whole models with critical columns: which tensors get them, statistics, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecomp import pipeline
from edgecomp.calibration import CalibrateSettings, CalibrationError, open_statistics
from edgecomp.checkpoint import open_checkpoint
from edgecomp.cli.demo import shipped_text
from edgecomp.compression import Calibration, CompressError, CompressReport, compress_checkpoint
from edgecomp.compression.workfolder import work_folder_path
from edgecomp.encode import CrvqSettings, LatticeSettings, WeightError
from exporters.gguf import open_container
from runtime_ops import reference
from runtime_ops.formats import ColumnsFormat, RawFormat
from runtime_ops.native import NativeContainer

BY_WEIGHT = LatticeSettings(bits=3.0, critical=0.1, importance="weight")
BY_ACTIVATION = LatticeSettings(bits=3.0, critical=0.1)
EMBEDDING = "model.embed_tokens.weight"
IN_BLOCKS = 7 * 6  # matrices of the shipped model


def compress(folder: Path, out: Path, settings: Any, **given: Any) -> CompressReport:
    return compress_checkpoint(open_checkpoint(str(folder)), settings, out, **given)


def critical_columns(path: Path) -> dict[str, int]:
    """Critical columns of every matrix of a container whose checksums are right."""
    with open_container(path) as container:
        assert container.verify() == []
        return {
            entry.name: entry.format.n_critical if isinstance(entry.format, ColumnsFormat) else 0
            for entry in container.tensors
            if not isinstance(entry.format, RawFormat)
        }


@pytest.fixture
def wide(tmp_path: Path, model_writer: Callable[..., Path]) -> Path:
    """The folder of a model of matrices of several widths, an embedding and a vector."""
    rng = np.random.default_rng(0)
    shapes = {EMBEDDING: (40, 64), "a.weight": (48, 64), "b.weight": (16, 96), "c.weight": (8, 24),
              "conv.weight": (8, 8, 3, 3), "norm.weight": (64,)}  # fmt: skip
    tensors = {n: rng.normal(0, 0.02, shape).astype(np.float32) for n, shape in shapes.items()}
    return model_writer(tmp_path / "wide", tensors)


@pytest.fixture(scope="module")
def shipped_statistics(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Statistics of the shipped model from four short windows: the folder, and an imatrix."""
    from edgecomp.cli.demo import shipped_model

    folder = tmp_path_factory.mktemp("calibration")
    settings = CalibrateSettings(4, 64, "cpu", folder / "imatrix.gguf")
    pipeline.calibrate(shipped_model(), shipped_text(), folder / "stats", settings)
    return folder / "stats", folder / "imatrix.gguf"


@pytest.mark.parametrize("importance", ["weight", "random"])
def test_matrices_that_are_no_embedding(tmp_path: Path, wide: Path, importance: Any) -> None:
    """Without statistics: by name, width and number of sides."""
    settings = LatticeSettings(bits=3, critical=0.2, importance=importance, seed=3)
    report = compress(wide, tmp_path / "m.gguf", settings)
    assert critical_columns(report.path) == {
        EMBEDDING: 0, "a.weight": 16, "b.weight": 16, "c.weight": 0, "conv.weight": 0,
    }  # fmt: skip
    assert [raw.name for raw in report.raw] == ["norm.weight"]
    native = NativeContainer(report.path.read_bytes())
    with open_container(report.path) as container:
        for entry in container.tensors:
            decoded = reference.decode(container.read(entry.name))
            assert np.array_equal(native.decode(entry.name), decoded)
        stored = json.loads(container.metadata["edgecomp.settings"])
    assert (stored["critical"], stored["importance"], stored["seed"]) == (0.2, importance, 3)
    assert compress(wide, tmp_path / "again.gguf", settings).sha256 == report.sha256
    other = LatticeSettings(bits=3, critical=0.2, importance=importance, seed=4)
    changed = compress(wide, tmp_path / "other.gguf", other)
    assert critical_columns(changed.path) == critical_columns(report.path)
    assert changed.sha256 != report.sha256


def test_random_columns_go_by_the_name(tmp_path: Path, model_writer) -> None:
    same = np.random.default_rng(0).normal(0, 0.02, (8, 96)).astype(np.float32)
    folder = model_writer(tmp_path / "m", {"a.weight": same, "b.weight": same})
    settings = LatticeSettings(critical=0.1, importance="random")
    report = compress(folder, tmp_path / "m.gguf", settings)
    with open_container(report.path) as container:
        formats = [container.read(name).format for name in ("a.weight", "b.weight")]
    orders = [fmt.order.tolist() for fmt in formats]
    assert orders[0] != orders[1]


def test_progress_ends_where_a_tensor_does(tmp_path: Path, wide: Path) -> None:
    steps: list[Any] = []
    compress(wide, tmp_path / "m.gguf", BY_WEIGHT, progress=steps.append)
    done = [step.bytes_done for step in steps if step.stage == "encode"]
    assert done == sorted(done)
    assert done[-1] == max(step.bytes for step in steps if step.stage == "encode")
    last_inside = [s.bytes_done for s in steps if s.item == "a.weight"]
    assert last_inside[-1] - last_inside[0] == 48 * 64 * 4


def test_more_columns_than_a_permutation_names(tmp_path: Path, model_writer) -> None:
    folder = model_writer(tmp_path / "m", {"w": np.zeros((1, 65537), np.float32)})
    with pytest.raises(WeightError, match="tensor w: 65537 columns, expected at most 65536"):
        compress(folder, tmp_path / "m.gguf", BY_WEIGHT)
    assert not (tmp_path / "m.gguf").exists()
    compress(folder, tmp_path / "m.gguf", LatticeSettings())


@pytest.mark.parametrize(
    ("settings", "calibration", "message", "hint"),
    [
        (BY_ACTIVATION, None, 'importance "activation" need a calibration', "--importance weight"),
        (BY_ACTIVATION, Calibration(None), "without a text and without stat", "--calibration"),
        (CrvqSettings(), None, "codec crvq needs a calibration text", "--calibration"),
        (CrvqSettings(), Calibration(None), "codec crvq needs a calibration text", "--calibration"),
    ],
)
def test_without_a_calibration(
    tmp_path: Path, wide: Path, settings: Any, calibration: Any, message: str, hint: str
) -> None:
    out = tmp_path / "m.gguf"
    with pytest.raises(CompressError, match=message) as error:
        compress(wide, out, settings, calibration=calibration)
    assert hint in error.value.hint
    assert not out.exists()
    assert not work_folder_path(out).exists()


def test_statistics_that_cannot_be_used(
    tmp_path: Path, wide: Path, shipped_statistics: tuple[Path, Path]
) -> None:
    folder, imatrix = shipped_statistics
    (tmp_path / "empty").mkdir()
    for path, error, message in (
        (folder, CalibrationError, "of another model"),
        (imatrix, CalibrationError, "no tensor of wide"),
        (tmp_path / "empty", CalibrationError, "no index.json"),
        (tmp_path / "missing", FileNotFoundError, "missing"),
    ):
        calibration = Calibration(None, path)
        with pytest.raises(error, match=message):
            compress(wide, tmp_path / "m.gguf", BY_ACTIVATION, calibration=calibration)
        assert not (tmp_path / "m.gguf").exists()


def test_fingerprint_goes_by_contents(shipped_statistics: tuple[Path, Path], tmp_path) -> None:
    """Of a folder's index, of an imatrix as a whole, and of the text."""
    folder, imatrix = shipped_statistics
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(imatrix.read_bytes())
    first = Calibration(None, imatrix).fingerprint
    assert Calibration(None, copy).fingerprint == first
    copy.write_bytes(imatrix.read_bytes()[:-1] + b"?")
    assert Calibration(None, copy).fingerprint != first
    assert Calibration(None, folder).fingerprint != first
    assert Calibration(shipped_text(), imatrix).fingerprint != first


def test_tensors_stored_transposed_have_none(tmp_path: Path, monkeypatch, wide: Path) -> None:
    """GPT-2's matrices are (d_in, d_out): their columns are outputs; the user is told."""
    from edgecomp.calibration.sites import Site
    from edgecomp.calibration.statistics import Statistics
    from edgecomp.compression import tensor_settings as critical

    inputs = {"a.weight": np.ones(64, np.float32), "b.weight": np.ones(96, np.float32)}
    sites = (Site(64, ("a.weight",), transposed=True), Site(96, ("b.weight",)))
    statistics = Statistics(tmp_path, 1, 1, sites, {}, inputs)
    monkeypatch.setattr(critical, "usable_statistics", lambda *_: statistics)
    notes: list[str] = []
    calibration = Calibration(shipped_text())
    out = tmp_path / "m.gguf"
    compress(wide, out, BY_ACTIVATION, calibration=calibration, note=notes.append)
    assert {name: n for name, n in critical_columns(out).items() if n} == {"b.weight": 8}
    assert notes == [
        "1 tensors such as a.weight are stored transposed: they get no critical columns"
    ]


def test_shipped_model_by_imatrix(
    tmp_path: Path, bookworm: Path, shipped_statistics: tuple[Path, Path]
) -> None:
    """The matrices of the blocks get them, the embedding does not: an imatrix has no head."""
    _, imatrix = shipped_statistics
    settings = LatticeSettings(bits=2, critical=0.05, reach=0, generator="golden")
    report = compress(
        bookworm, tmp_path / "m.gguf", settings, calibration=Calibration(None, imatrix)
    )
    found = critical_columns(report.path)
    assert found.pop(EMBEDDING) == 0
    assert len(found) == IN_BLOCKS
    assert set(found.values()) == {16, 40}  # of 256, and of 768
    diagonals = open_statistics(imatrix, open_checkpoint(str(bookworm)))
    name = "model.layers.3.mlp.down_proj.weight"
    weights = open_checkpoint(str(bookworm)).source(name).read(0, 256 * 768).reshape(256, 768)
    scores = (weights.astype(np.float64) ** 2).mean(0) * diagonals.diagonal(name)
    with open_container(report.path) as container:
        order = container.read(name).format.order
    assert order[:40].tolist() == np.argsort(-scores)[:40].tolist()


@pytest.mark.slow
def test_shipped_model_is_better_with_critical_columns(
    tmp_path: Path, bookworm: Path, shipped_statistics: tuple[Path, Path]
) -> None:
    """By weight, and by activation from a folder or a text: close to the original, less lost."""
    folder, _ = shipped_statistics
    text = tmp_path / "text.txt"
    text.write_text(shipped_text().read_text()[:20000])
    plain = compress(bookworm, tmp_path / "plain.gguf", LatticeSettings(bits=2.5))
    kl = {}
    for name, settings, calibration in (
        ("plain", None, None),
        ("weight", LatticeSettings(bits=2.5, critical=0.05, importance="weight"), None),
        ("folder", LatticeSettings(bits=2.5, critical=0.05), Calibration(None, folder)),
        ("text", LatticeSettings(bits=2.5, critical=0.05), Calibration(text, windows=8)),
    ):
        out = tmp_path / f"{name}.gguf"
        if settings is not None:
            report = compress(bookworm, out, settings, calibration=calibration)
            assert report.bpw < plain.bpw + 0.5
            found = critical_columns(out)
            assert (found[EMBEDDING] > 0) == (calibration is not None)  # tied: it is the head too
            assert all(n > 0 for tensor, n in found.items() if tensor != EMBEDDING)
        result = pipeline.evaluate(out, bookworm, shipped_text(), windows=4)
        kl[name] = result.candidates[out.name].kl
    assert kl["weight"] < kl["plain"]
    assert kl["folder"] < kl["weight"]
    assert kl["text"] < kl["weight"]
    assert not work_folder_path(tmp_path / "text.gguf").exists()
