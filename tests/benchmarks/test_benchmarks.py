"""Benchmarks are commands with a fixed output, and the quality they show must stay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def rows_of(name: str, *arguments: str) -> list[dict[str, Any]]:
    """The rows that a benchmark prints."""
    command = [sys.executable, str(ROOT / "benchmarks" / name), "--json", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout)
    assert set(found) == {"machine", "commit", "rows"}
    assert found["machine"]["cores"] >= 1
    return list(found["rows"])


@pytest.mark.slow
def test_rate_distortion_holds_its_figures() -> None:
    """Mean square errors on unit Gaussian weights of a fresh seed, 65,536 samples (hyper.md 5)."""
    rows = rows_of("rate_distortion.py", "--quick")
    fields = {"codec", "settings", "index_bpw", "bpw", "mse", "limit", "samples", "seed"}
    assert all(fields <= set(row) for row in rows)
    mse = {(row["settings"], row["index_bpw"]): row["mse"] for row in rows}
    assert mse["lattice, D 2, golden, uniform, group 128", 4.0] <= 0.0113
    assert mse["lattice, D 4, Korobov, companded, group 128", 4.0] <= 0.0072
    assert mse["lattice, D 4, Korobov, companded, group 128", 3.0] <= 0.0285
    assert mse["paper, U 1600, box 0.1, sigma 0.02", 6.0] == pytest.approx(1.41e-3, rel=0.05)
    for row in rows:
        assert row["samples"] >= 65536
        assert row["mse"] > row["limit"]  # nothing beats the rate-distortion limit
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


@pytest.mark.slow
def test_language_model_beats_integers() -> None:
    """Lattice KL at or below the integers' in no more bytes; the paper preset within 1 %."""
    data = ROOT / "edgecomp" / "data"
    arguments = ["--model", str(data / "bookworm"), "--text", str(data / "bookworm_valid.txt")]
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
