"""The uniform codec from the command line, alone and for embeddings beside trellises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgecomp.encode import Settings, TrellisSettings, UniformSettings
from exporters.gguf import open_container
from runtime_ops.formats import RawFormat, UniformFormat
from tests.edgecomp.command_line import assert_error, compress_arguments
from tests.edgecomp.crvq.small_models import save_small, write_text

UNIFORM = ["--codec", "uniform"]
BESIDE = ["--embedding-codec", "uniform"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It reads as many tokens as a window of `edgecomp eval` has."""
    folder = tmp_path_factory.mktemp("model") / "llama"
    return save_small(folder, max_position_embeddings=256)


def test_compress_inspect_and_eval(run: Any, llama: Path, tmp_path: Path) -> None:
    """And fewer bits are worse."""
    text = write_text(tmp_path / "text.txt")
    losses = []
    for bits in (8, 4, 2):
        out = tmp_path / f"{bits}.gguf"
        assert run("compress", llama, *UNIFORM, "--bits", str(bits), "-o", out).code == 0
        shown = run("inspect", out, "--verify")
        assert (shown.code, shown.err) == (0, "")
        assert "checksums: all right" in shown.out
        found = json.loads(run("inspect", out, "--json").out)
        stored = {"codec": "uniform", "preset": "uniform", "bits": float(bits), "group": 32}
        assert found["settings"] == stored
        assert {row["codec"] for row in found["tensors"]} == {"uniform", "raw"}
        scored = run("eval", out, "--against", llama, "--text", text, "--json")
        losses.append(json.loads(scored.out)[out.name]["kl"])
    assert losses == sorted(losses)
    assert 0 < losses[0] < 1e-3


@pytest.mark.parametrize(("options", "bits"), [([], 8), (["--embedding-bits", "4"], 4)])
def test_embeddings_beside_trellises(
    run: Any, llama: Path, tmp_path: Path, options: list[str], bits: int
) -> None:
    out = tmp_path / "m.gguf"
    assert run("compress", llama, "--bits", "2", "--refit", *BESIDE, *options, "-o", out).code == 0
    with open_container(out) as container:
        formats = {entry.name: entry.format for entry in container.tensors}
    outer = {formats.pop("model.embed_tokens.weight"), formats.pop("lm_head.weight")}
    assert outer == {UniformFormat(bits, 32)}
    codecs = {fmt.codec for fmt in formats.values() if not isinstance(fmt, RawFormat)}
    assert codecs == {"trellis"}


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (UNIFORM, UniformSettings(4, 32)),
        ([*UNIFORM, "--bits", "8"], UniformSettings(8)),
        ([*UNIFORM, "--bits", "2", "--group", "128"], UniformSettings(2, 128)),
        (BESIDE, TrellisSettings(embedding_codec="uniform")),
        ([*BESIDE, "--embedding-bits", "2"],
         TrellisSettings(embedding_codec="uniform", outer_bits=2)),
        (["--embedding-codec", "trellis"], TrellisSettings()),
    ],
)  # fmt: skip
def test_options_become_settings(
    run: Any, monkeypatch: pytest.MonkeyPatch, options: list[str], settings: Settings
) -> None:
    assert compress_arguments(run, monkeypatch, *options)[0] == settings


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--bits", "3"], "bits is 3, expected 2, 4 or 8 with the uniform codec"),
        (["--bits", "nan"], "bits is nan, expected 2, 4 or 8"),
        (["--group", "48"], "group is 48, expected a multiple of 32 up to 65536"),
        (["--dim", "2"], "--dim belongs to the winding codec"),
        (["--preset", "lattice"], "--preset belongs to the winding codec"),
        (["--points", "9"], "--points belongs to the winding codec"),
        (["--sweeps", "1"], "--sweeps belongs to the crvq codec"),
        (["--critical", "0.1"], "--critical belongs to the lattice preset"),
        (["--critical-bits", "4"], "--critical-bits belongs to the other codecs"),
        (["--embedding-bits", "8"], "--embedding-bits belongs to the codecs trellis and crvq"),
        (["--embedding-codec", "uniform"], "--embedding-codec belongs to the trellis codec"),
        (["--state-bits", "8"], "--state-bits belongs to the trellis codec"),
        (["--calibration", "t"], "look at no text"),
    ],
)
def test_wrong_usage(run: Any, options: list[str], reason: str) -> None:
    assert_error(run("compress", "m", "-o", "x", *UNIFORM, *options), 2, reason)


@pytest.mark.parametrize("bits", ["1", "3", "4.5", "6"])
def test_bits_of_embeddings_that_integers_do_not_have(run: Any, bits: str) -> None:
    found = run("compress", "m", "-o", "x", *BESIDE, "--embedding-bits", bits)
    assert_error(found, 2, f"--embedding-bits is {float(bits)}, expected")
