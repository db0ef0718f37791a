"""The trellis codec from the command line: the default, its options, wrong usage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgecomp.encode import LatticeSettings, Settings, TrellisSettings
from tests.edgecomp.command_line import assert_error, compress_arguments
from tests.edgecomp.crvq.small_models import save_small, write_text

TRELLIS = ["--codec", "trellis"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It reads as many tokens as a window of `edgecomp eval` has."""
    folder = tmp_path_factory.mktemp("model") / "llama"
    return save_small(folder, max_position_embeddings=256)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


def test_compress_inspect_and_eval(run: Any, llama: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"
    options = ["--bits", "2", "--calibration", text, "--context", "32", "--device", "cpu"]
    result = run("compress", llama, *options, "-o", out)
    assert result.code == 0
    facts = dict(line.split(": ", 1) for line in result.out.splitlines())
    assert facts["bytes"] == str(out.stat().st_size)
    shown = run("inspect", out, "--verify")
    assert (shown.code, shown.err) == (0, "")
    assert "checksums: all right" in shown.out
    found = json.loads(run("inspect", out, "--json").out)
    assert (found["settings"]["codec"], found["settings"]["bits"]) == ("trellis", 2.0)
    assert {row["codec"] for row in found["tensors"]} == {"trellis", "raw"}
    scored = run("eval", out, "--against", llama, "--text", text, "--json")
    assert 0 < json.loads(scored.out)["m.gguf"]["kl"] < 1


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ([], TrellisSettings()),
        (["--bits", "2.5"], TrellisSettings(bits=2.5)),
        (["--bits", "1", "--embedding-bits", "3"], TrellisSettings(bits=1, outer_bits=3)),
        (["--state-bits", "8", "--table-entries", "16"],
         TrellisSettings(state_bits=8, table_entries=16)),
        (["--no-rotate", "--no-feedback", "--refit"],
         TrellisSettings(rotate=False, feedback=False, refit=True)),
        (["--damping", "0.1", "--seed", "7", "--calibration", "t"],
         TrellisSettings(damping=0.1, seed=7)),
        (["--critical", "0.1", "--critical-bits", "3", "--importance", "weight"],
         TrellisSettings(critical=0.1, critical_bits=3, importance="weight")),
        (["--finetune", "block", "--epochs", "2", "--keep-codes", "--calibration", "t"],
         TrellisSettings(finetune="block", epochs=2, move_codes=False)),
        (["--preset", "lattice"], LatticeSettings()),
        (["--group", "64"], LatticeSettings(group=64)),
        (["--dim", "2", "--bits", "3.3"], LatticeSettings(bits=3.3, dim=2)),
        (["--codec", "winding", "--bits", "5"], LatticeSettings(bits=5)),
    ],
)  # fmt: skip
def test_options_become_settings(
    run: Any, monkeypatch: pytest.MonkeyPatch, options: list[str], settings: Settings
) -> None:
    assert compress_arguments(run, monkeypatch, *options)[0] == settings


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--bits", "4.3"], "bits is 4.3, expected one of 1, 1.5, 2"),
        (["--bits", "99"], "bits is 99.0, expected"),
        (["--embedding-bits", "9"], "--embedding-bits is 9.0, expected one of"),
        (["--state-bits", "9"], "state_bits is 9, expected one of 8, 10, 12, 16"),
        (["--table-entries", "100"], "table_entries is 100, expected 16, 64 or 256"),
        ([*TRELLIS, "--group", "16"], "--group belongs to the winding codec"),
        ([*TRELLIS, "--dim", "2"], "--dim belongs to the winding codec"),
        ([*TRELLIS, "--preset", "lattice"], "--preset belongs to the winding codec"),
        ([*TRELLIS, "--points", "9"], "--points belongs to the winding codec"),
        ([*TRELLIS, "--sweeps", "1"], "--sweeps belongs to the crvq codec"),
        ([*TRELLIS, "--importance", "obs"], "--importance obs belongs to the crvq codec"),
        ([*TRELLIS, "--critical-bits", "4"], "--critical-bits goes with --critical"),
        ([*TRELLIS, "--epochs", "2"], "--epochs goes with --finetune"),
        (["--finetune", "none", "--epochs", "2"], "--epochs goes with --finetune"),
        ([*TRELLIS, "--keep-codes"], "--keep-codes goes with --finetune"),
        (["--no-feedback", "--damping", "0.1"], "--damping goes with --feedback"),
        ([*TRELLIS, "--damping", "0.1"], "--damping goes with --calibration"),
        (["--finetune", "block"], "--finetune needs a calibration text"),
        (["--finetune", "block", "--statistics", "s"], "--finetune needs a calibration text"),
        (["--no-feedback", "--calibration", "t"], "look at no text"),
        (["--codec", "winding", "--state-bits", "8"], "--state-bits belongs to the trellis codec"),
        (["--codec", "crvq", "--calibration", "t", "--no-rotate"], "belongs to the trellis codec"),
    ],
)
def test_wrong_usage(run: Any, options: list[str], reason: str) -> None:
    assert_error(run("compress", "m", "-o", "x", *options), 2, reason)
