"""Benchmarks are commands with a fixed output, and the quality they show must stay."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / "edgecomp" / "data"


def started(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A benchmark's run."""
    command = [sys.executable, str(ROOT / "benchmarks" / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows_of(name: str, *arguments: str) -> list[dict[str, Any]]:
    """The rows that a benchmark prints."""
    run = started(name, "--json", *arguments)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout)
    assert set(found) == {"machine", "commit", "rows"}
    assert found["machine"]["cores"] >= 1
    return list(found["rows"])


# State bits, bits, entries of a table, error: just above what was found for these weights.
TRELLIS_LIMITS = [
    (8, 1, 256, 0.279), (8, 2, 256, 0.0745), (10, 2, 256, 0.0710), (12, 1, 256, 0.2685),
    (12, 1.5, 256, 0.1371), (12, 2, 256, 0.0688), (12, 2.5, 256, 0.0360), (12, 3, 256, 0.0176),
    (12, 4, 256, 0.0046), (16, 2, 256, 0.0666), (16, 3, 256, 0.01695), (16, 4, 1024, 0.00427),
]  # fmt: skip


@pytest.mark.slow
def test_rate_distortion_holds_its_figures() -> None:
    """Mean square errors on 65,536 unit Gaussian weights.

    Those of a fresh seed are up to 2 % different, so the seed stays.
    """
    rows = rows_of("rate_distortion.py", "--quick", "--seed", "20261122")
    fields = {"codec", "settings", "index_bpw", "bpw", "mse", "limit", "samples", "seed"}
    assert all(fields <= set(row) for row in rows)
    mse = {(row["settings"], row["index_bpw"]): row["mse"] for row in rows}
    assert mse["lattice, D 2, golden, uniform, group 128", 4.0] <= 0.0113
    assert mse["lattice, D 4, Korobov, companded, group 128", 4.0] <= 0.0072
    assert mse["lattice, D 4, Korobov, companded, group 128", 3.0] <= 0.0285
    assert mse["least error, group 32", 4.0] <= 0.0076
    assert mse["least error, group 128", 2.0] < 0.6 * mse["round to nearest, group 128", 2.0]
    assert mse["least error, group 128", 4.0] <= 0.0103
    assert mse["paper, U 1600, box 0.1, sigma 0.02", 6.0] == pytest.approx(1.41e-3, rel=0.05)
    for state_bits, bits, entries, most in TRELLIS_LIMITS:
        assert mse[f"L {state_bits}, table of {entries}", bits] <= most
    for row in rows:
        assert row["samples"] >= 65536
        # Nothing beats the rate-distortion limit, which has rows itself.
        assert row["mse"] > row["limit"] or row["codec"] == "limit"
        assert row["bpw"] >= row["index_bpw"]


@pytest.mark.slow
def test_encode_speed_prints_its_rows() -> None:
    """Every case has an encode and decode rate and numpy's beside; no time is asserted."""
    rows = rows_of("encode_speed.py", "--quick")
    for settings in {row["settings"] for row in rows}:
        done = {(row["what"], row["how"]) for row in rows if row["settings"] == settings}
        assert {("encode", "c"), ("decode", "scalar"), ("decode", "numpy")} <= done
    assert all(row["weights_per_second"] > 0 and row["threads"] >= 1 for row in rows)


@pytest.mark.slow
def test_crvq_decode_prints_its_rows() -> None:
    """Tables and decoded weights beside torch and numpy at every shape; no time is asserted."""
    rows = rows_of("crvq_decode.py", "--quick")
    for shape in {row["shape"] for row in rows}:
        done = {(row["what"], row["how"]) for row in rows if row["shape"] == shape}
        assert {("gemv", "torch"), ("gemm", "direct*"), ("gemm", "numpy")} <= done
        assert {("gemv", "direct*"), ("gemv", "table*")} & done
    assert all(row["ms"] > 0 and row["threads"] >= 1 for row in rows)


@pytest.mark.slow
def test_crvq_layer_prints_its_rows() -> None:
    """Every stage of a layer, whose loss falls; no time is asserted."""
    rows = rows_of("crvq_layer.py", "--quick")
    assert rows[0]["stage"] == "importance"
    losses = [row["loss"] for row in rows if row["loss"] is not None]
    assert len(losses) >= 4
    assert losses[-1] < 0.95 * losses[0]
    for row in rows:
        assert row["shape"] == "1024 x 1024"
        assert row["hours_7b"] == pytest.approx(row["total_seconds"] * 6_476_005_376 / 2**20 / 3600)


GREEDY = ("greedy pipeline: k-means, no sweeps, even", "greedy pipeline with 3 sweeps")


def ablation(model: Path, *arguments: str) -> list[str]:
    """The arguments of the ablation with the texts of the package."""
    texts = ["--calibration", str(DATA / "bookworm_calib.txt")]
    texts += ["--text", str(DATA / "bookworm_valid.txt")]
    return ["--model", str(model), *texts, *arguments]


@pytest.mark.slow
def test_crvq_ablation_counts_and_judges_its_arms() -> None:
    """The greedy arms, which nothing is tuned for: as many bytes, and sweeps that are worth it."""
    arms = [part for arm in GREEDY for part in ("--arm", arm)]
    arguments = ablation(DATA / "bookworm", "--quick", "--windows", "8", *arms)
    rows = rows_of("crvq_ablation.py", *arguments)
    assert [(row["settings"], row["stage"], row["codes"]) for row in rows] == [
        (arm, "init", None) for arm in GREEDY
    ]
    none, three = rows
    for row in rows:
        assert row["file_bytes"] == none["file_bytes"]
        assert 1.0 < row["body_bpw"] < 1.3
        assert math.isfinite(row["kl"])
        assert row["ppl"] > row["original_ppl"] > 1
        assert (row["windows"], row["epochs"]) == (8, 0.25)
        assert row["seconds"] > 0
    assert 0 < three["kl"] < none["kl"]
    assert three["ppl"] < none["ppl"]
    assert three["top1"] > none["top1"]


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--calibration", "--text"])
def test_crvq_ablation_asks_for_its_texts(tmp_path: Path, option: str) -> None:
    """A text that is not there ends it before any work, with the option that gives one."""
    missing = tmp_path / "missing.txt"
    run = started("crvq_ablation.py", *ablation(DATA / "bookworm", option, str(missing)))
    assert (run.returncode, run.stdout) == (2, "")
    last = run.stderr.splitlines()[-1]
    assert last == f"crvq_ablation.py: error: no text at {missing}: give one with {option}"
    assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_crvq_ablation_needs_a_tokenizer(tmp_path: Path) -> None:
    """A model without one ends it the same way."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(DATA / "bookworm" / name)
    run = started("crvq_ablation.py", *ablation(tmp_path))
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.splitlines()[-1].endswith(f"{tmp_path} has no tokenizer.json")
    assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_crvq_ablation_explains_itself() -> None:
    """Its options and arms, whose names have per cent signs."""
    run = started("crvq_ablation.py", "--help")
    assert (run.returncode, run.stderr) == (0, "")
    words = " ".join(run.stdout.split())
    for option in ("--calibration CALIBRATION UTF-8 text", "--text TEXT UTF-8 text", "--quick"):
        assert option in words
    for arm in ("1+3, critical 2 %", *GREEDY):
        assert arm in words


@pytest.mark.slow
def test_language_model_beats_integers() -> None:
    """Lattice KL at or below the integers' in no more bytes; the paper preset within 1 %."""
    arguments = ["--model", str(DATA / "bookworm"), "--text", str(DATA / "bookworm_valid.txt")]
    rows = rows_of("language_model.py", *arguments, "--windows", "24")
    by_settings = {row["settings"]: row for row in rows}
    original = by_settings["as published"]
    paper = by_settings["paper, U 1600, box 0.1"]
    assert abs(paper["ppl"] / original["ppl"] - 1) <= 0.01
    better = 0
    for bits in (3, 4, 5, 6):
        lattice = by_settings[f"lattice, {bits} bits"]
        integers = by_settings[f"round to nearest, {bits} bits, group 128"]
        assert lattice["file_bytes"] <= integers["file_bytes"]
        better += lattice["kl"] <= integers["kl"]
    assert better >= 3
