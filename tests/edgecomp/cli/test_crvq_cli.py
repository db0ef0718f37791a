"""`edgecomp compress --codec crvq`: its options, what it prints, and every error in one line."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgecomp.checkpoint import open_checkpoint
from edgecomp.compression import Calibration
from edgecomp.compression.linears import window_context
from edgecomp.encode import CrvqSettings
from edgecomp.encode.settings import crvq as settings
from edgecomp.tuning import tuner
from tests.edgecomp.command_line import assert_error, compress_arguments
from tests.edgecomp.crvq.small_models import save_small, write_text

SMALL = ["--codec", "crvq", "--codebook-bits", "4", "--sweeps", "1", "--finetune", "none",
         "--context", "32", "--device", "cpu"]  # fmt: skip


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
    result = run("compress", llama, *SMALL, "--calibration", text, "-o", out)
    assert result.code == 0
    facts = dict(line.split(": ", 1) for line in result.out.splitlines())
    assert facts["bytes"] == str(out.stat().st_size)
    assert "note: codebooks are shared by " in result.err
    assert "calibrate: 48/48 windows" in result.err
    shown = run("inspect", out, "--verify")
    assert (shown.code, shown.err) == (0, "")
    assert "checksums: all right" in shown.out
    found = json.loads(run("inspect", out, "--json").out)
    assert found["settings"]["codec"] == "crvq"
    assert found["settings"]["finetune"] == "none"
    assert found["settings"]["codebook_bits"] == 4
    codecs = {row["codec"] for row in found["tensors"]}
    assert codecs & {"crvq", "columns"}
    scored = run("eval", out, "--against", llama, "--text", text, "--json")
    assert scored.code == 0
    scores = json.loads(scored.out)
    assert 0 < scores["m.gguf"]["kl"] < 1


def test_statistics_that_were_gathered_before(
    run: Any, llama: Path, text: Path, tmp_path: Path
) -> None:
    calibrated = ["--context", "32", "--windows", "512", "--device", "cpu"]
    run("calibrate", llama, "--text", text, "-o", tmp_path / "stats", *calibrated)
    given = ["--calibration", text, "--statistics", tmp_path / "stats", "--json"]
    first = run("compress", llama, *SMALL, *given, "-o", tmp_path / "1.gguf")
    assert "calibrate" not in first.err
    second = run(
        "compress", llama, *SMALL, "--calibration", text, "-o", tmp_path / "2.gguf", "--json"
    )
    assert json.loads(first.out)["sha256"] == json.loads(second.out)["sha256"]


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ([], {}),
        (["--dim", "4", "--codebook-bits", "4"], {"dim": 4, "codebook_bits": 4}),
        (["--extended", "1", "--critical", "0.05"], {"extended": 1, "critical": 0.05}),
        (["--critical", "0"], {"critical": 0.0}),
        (["--critical-codes", "scalar"], {"critical_codes": "scalar"}),
        *[(["--importance", each], {"importance": each})
          for each in ("obs", "activation", "weight", "random")],
        (["--allocation", "even"], {"allocation": "even"}),
        (["--initialisation", "greedy", "--sweeps", "0"],
         {"initialisation": "greedy", "sweeps": 0}),
        *[(["--share", each], {"share": each}) for each in ("auto", "tensor", "kind", "model")],
        *[(["--finetune", each], {"finetune": each}) for each in ("none", "block", "end-to-end")],
        (["--keep-codes"], {"move_codes": False}),
        (["--move-codes"], {}),
        (["--epochs", "0.5", "--seed", "7"], {"epochs": 0.5, "seed": 7}),
        (["--embedding-bits", "6", "--damping", "0.1"], {"outer_bits": 6.0, "damping": 0.1}),
    ],
)  # fmt: skip
def test_options_become_settings(
    run: Any, monkeypatch: pytest.MonkeyPatch, options: list[str], changes: dict[str, Any]
) -> None:
    found = compress_arguments(run, monkeypatch, *CRVQ, *options)
    assert found == (CrvqSettings(**changes), Calibration(Path("t")))


def test_options_of_the_calibration(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--statistics", "s", "--context", "64", "--device", "cpu"]
    _, found = compress_arguments(run, monkeypatch, *CRVQ, *words)
    assert found == Calibration(Path("t"), Path("s"), context=64, device="cpu")


CRVQ = ["--codec", "crvq", "--calibration", "t"]
WINDING = ["--codec", "winding"]
BOTH = "belongs to the lattice preset and to other codecs"
TUNED = "belongs to the codecs trellis and crvq"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--codec", "crvq"], "--codec crvq needs a calibration text"),
        (["--codec", "crvq", "--statistics", "s"], "--codec crvq needs a calibration text"),
        ([*WINDING, "--calibration", "t"], "--calibration"),
        ([*WINDING, "--statistics", "s"], "--statistics"),
        (["--preset", "paper", "--calibration", "t"], "--calibration"),
        (
            [*WINDING, "--critical", "0.1", "--importance", "weight", "--calibration", "t"],
            "--calibration",
        ),
        (["--context", "64"], "--context"),
        (["--device", "cpu"], "--device"),
        (["--codebook-bits", "8"], "--codebook-bits belongs to the crvq codec"),
        (["--extended", "2"], "--extended belongs to the crvq codec"),
        (["--critical-codes", "scalar"], "--critical-codes belongs to the crvq codec"),
        (["--allocation", "even"], "--allocation belongs to the crvq codec"),
        (["--initialisation", "greedy"], "--initialisation belongs to the crvq codec"),
        (["--sweeps", "1"], "--sweeps belongs to the crvq codec"),
        (["--share", "kind"], "--share belongs to the crvq codec"),
        ([*WINDING, "--finetune", "none"], f"--finetune {TUNED}"),
        ([*WINDING, "--keep-codes"], TUNED),
        ([*WINDING, "--epochs", "2"], f"--epochs {TUNED}"),
        ([*WINDING, "--embedding-bits", "4"], f"--embedding-bits {TUNED}"),
        ([*WINDING, "--damping", "0.1"], f"--damping {TUNED}"),
        (["--preset", "paper", "--seed", "1"], f"--seed {BOTH}"),
        (["--preset", "paper", "--critical", "0.1"], f"--critical {BOTH}"),
        (["--preset", "paper", "--importance", "weight"], f"--importance {BOTH}"),
        (["--critical-bits", "4"], "--critical-bits goes with --critical"),
        (["--importance", "weight"], "--importance goes with --critical"),
        (["--importance", "weight", "--critical-bits", "4"], "--critical-bits goes with"),
        (["--importance", "obs"], "--importance obs belongs to the crvq codec"),
        ([*CRVQ, "--preset", "lattice"], "--preset belongs to the winding codec"),
        ([*CRVQ, "--bits", "4"], "--bits belongs to the other codecs"),
        ([*CRVQ, "--points", "9"], "--points belongs to the winding codec"),
        ([*CRVQ, "--box", "0.1"], "--box belongs to the winding codec"),
        ([*CRVQ, "--group", "16"], "--group belongs to the winding codec"),
        ([*CRVQ, "--no-companding"], "--companding belongs to the winding codec"),
        ([*CRVQ, "--critical-bits", "8"], "--critical-bits belongs to the other codecs"),
        ([*CRVQ, "--dim", "3"], "dim is 3, expected one of 1, 2, 4, 8, 16"),
        ([*CRVQ, "--codebook-bits", "9"], "codebook_bits is 9, expected 1..8"),
        ([*CRVQ, "--extended", "8"], "extended is 8, expected 1..7"),
        ([*CRVQ, "--critical", "1.5"], "critical is 1.5, expected"),
        ([*CRVQ, "--epochs", "0"], "epochs is 0.0, expected more than 0"),
        ([*CRVQ, "--damping", "1e-9"], "damping is 1e-09, expected 0.0001..1"),
        ([*CRVQ, "--sweeps", "-1"], "sweeps is -1, expected 0..100"),
        ([*CRVQ, "--embedding-bits", "99"], "--embedding-bits is 99.0, expected 0.25..24"),
        ([*CRVQ, "--importance", "loud"], "--importance"),
        ([*CRVQ, "--context", "4"], "--context"),
    ],
)
def test_wrong_usage(run: Any, options: list[str], reason: str) -> None:
    assert_error(run("compress", "m", "-o", "x", *options), 2, reason)


def test_wrong_texts_and_statistics(run: Any, llama: Path, text: Path, tmp_path: Path) -> None:
    def fails(calibration: Path, *more: object) -> str:
        result = run(
            "compress", llama, *SMALL, "--calibration", calibration, "-o", tmp_path / "m", *more
        )
        assert_error(result, 1)
        assert not (tmp_path / "m").exists()
        return str(result.err)

    assert "no.txt: No such file" in fails(tmp_path / "no.txt")
    assert "Is a directory" in fails(tmp_path)
    assert "has 31 tokens, one window needs 32" in fails(write_text(tmp_path / "short.txt", 31))
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9")
    assert "not UTF-8" in fails(latin)
    assert "No such file" in fails(text, "--statistics", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "not a folder of statistics" in fails(text, "--statistics", tmp_path / "empty")
    assert "is not an imatrix" in fails(text, "--statistics", text)
    assert "no device gpu" in fails(text, "--device", "gpu")


def test_contexts_that_a_model_cannot_read(
    run: Any, llama: Path, text: Path, tmp_path: Path
) -> None:
    """Refused with the same words as by `edgecomp calibrate`, and not by default."""

    def lines(*words: object) -> list[str]:
        result = run(*words, "-o", tmp_path / "out", "--device", "cpu", "--context", 257)
        assert_error(result, 1, "a context of 257 tokens, expected at least 1 and at most 256")
        assert list(tmp_path.iterdir()) == []
        return str(result.err).splitlines()[-2:]

    given = ["--calibration", text]
    calibrate = lines("calibrate", llama, "--text", text)
    crvq = lines("compress", llama, "--codec", "crvq", *given)
    critical = lines("compress", llama, "--critical", "0.1", *given)
    assert calibrate[0] == crvq[0] == critical[0]
    assert crvq[1] == critical[1] == calibrate[1].replace("512", "256")
    short = save_small(tmp_path / "short", max_position_embeddings=40)
    job = Calibration(text, device="cpu")
    assert window_context(open_checkpoint(str(short)), job) == 40
    assert window_context(open_checkpoint(str(short)), replace(job, context=39)) == 39


@pytest.mark.parametrize(
    "options",
    [
        ["--share", "tensor"],  # importance
        ["--share", "tensor", "--importance", "random"],  # allocation
        ["--share", "tensor", "--critical", "0"],  # error feedback
        ["--share", "tensor", "--critical", "0", "--initialisation", "greedy"],  # codebooks
    ],
)
def test_a_hessian_that_is_not_positive_definite_is_one_line(
    run: Any, llama: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    options: list[str],
) -> None:  # fmt: skip
    """As rounding may make it where damping is low; here damping takes something away."""
    monkeypatch.setattr(settings, "MIN_DAMPING", -1.0)
    words = ["--calibration", text, "-o", tmp_path / "m", "--damping", "-0.5", *options]
    result = run("compress", llama, *SMALL, *words)
    message = (
        "error: tensor model.layers.0.self_attn.q_proj.weight: its Hessian is not positive definite"
        " with a damping of -0.5"
    )
    assert_error(result, 1, message)
    assert result.err.endswith("hint: give --damping 0.05\n")
    assert not (tmp_path / "m").exists()


def test_tuning_that_diverges_is_one_line(
    run: Any, llama: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner, "SCALE_RATE", 1e9)
    words = ["--calibration", text, "-o", tmp_path / "m", "--finetune", "block", "--epochs", 50]
    result = run("compress", llama, *SMALL, *words)
    assert_error(result, 1, "tuning failed: the loss is nan at step")


def test_tuning_shows_its_loss(run: Any, llama: Path, text: Path, tmp_path: Path) -> None:
    words = ["--calibration", text, "-o", tmp_path / "m", "--finetune", "end-to-end"]
    result = run("compress", llama, *SMALL, *words)
    assert result.code == 0
    assert re.search(r"^crvq: 1/1 steps.*, whole model: KL \d+\.\d{4}$", result.err, re.M)
