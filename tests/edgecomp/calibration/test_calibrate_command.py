"""`edgecomp calibrate`: what it prints, and every wrong input as one line and a hint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from edgecomp.calibration import open_statistics
from tests.edgecomp import command_line
from tests.edgecomp.calibration.tiny_networks import MIXTURES, OTHERS
from tests.edgecomp.command_line import Result

SMALL = ["--windows", "4", "--context", "16", "--device", "cpu"]


@pytest.fixture
def run(run: Callable[..., Result]) -> Callable[..., Result]:
    """`edgecomp calibrate` with the given arguments."""
    return partial(run, "calibrate")


def assert_error(result: Result, *reasons: str, code: int = 1) -> None:
    """See command_line.assert_error."""
    command_line.assert_error(result, code, *reasons)


def test_report(run: Any, llama: Path, text: Path, tmp_path: Path) -> None:
    out, imatrix = tmp_path / "stats", tmp_path / "imatrix.gguf"
    result = run(llama, "--text", text, "-o", out, *SMALL, "--imatrix", imatrix)
    assert result.code == 0
    facts = dict(line.split(": ") for line in result.out.splitlines())
    assert facts["folder"] == str(out)
    assert facts["bytes"] == str(sum(file.stat().st_size for file in out.iterdir()))
    assert facts["tokens"] == "64 in 4 windows of 16"
    assert facts["inputs"] == "13, read by 22 tensors"
    assert facts["device"] == "cpu"
    assert facts["imatrix"] == str(imatrix)
    assert "calibrate: 16/16 windows" in result.err
    again = run(llama, "--text", text, "-o", out, *SMALL, "--json")
    assert again.code == 0
    report = json.loads(again.out)
    assert report["resumed_blocks"] == report["blocks"] == 3
    assert (report["tokens"], report["sites"], report["tensors"]) == (64, 13, 22)
    assert report["imatrix"] is None
    assert "is complete already" in report["notes"][0]
    assert f"note: {report['notes'][0]}" in again.err


def test_defaults(run: Any, llama: Path, text: Path, tmp_path: Path) -> None:
    """The model reads 32 tokens: the text has 31 whole windows of them."""
    result = run(llama, "--text", text, "-o", tmp_path / "stats", "--json")
    report = json.loads(result.out)
    assert (report["windows"], report["context"]) == (31, 32)
    assert report["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert report["notes"] == ["the text has 31 windows of 32 tokens: all are read"]
    assert open_statistics(tmp_path / "stats").tokens == 31 * 32


def test_wrong_texts(run: Any, llama: Path, tmp_path: Path) -> None:
    text, out = tmp_path / "other.txt", tmp_path / "stats"
    assert_error(run(llama, "--text", text, "-o", out), "other.txt: No such file")
    text.write_text("A" * 15)
    assert_error(run(llama, "--text", text, "-o", out, *SMALL), "has 15 tokens", "needs 16")
    text.write_bytes(b"A\xff")
    assert_error(run(llama, "--text", text, "-o", out, *SMALL), "not UTF-8")
    assert_error(run(llama, "--text", tmp_path, "-o", out, *SMALL), "Is a directory")
    assert not out.exists()


def test_wrong_models(run: Any, llama: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "stats"
    assert_error(run(tmp_path / "nothing", "--text", text, "-o", out), "no folder")
    (llama / "tokenizer.json").write_text("{}")
    assert_error(run(llama, "--text", text, "-o", out), "not a tokenizer")
    (llama / "tokenizer.json").unlink()
    assert_error(run(llama, "--text", text, "-o", out), "has no tokenizer.json")
    assert not out.exists()


def test_networks_that_are_no_causal_language_models(
    run: Any, llama: Path, text: Path, tmp_path: Path
) -> None:
    """The hint fits whatever was asked for."""
    config = json.loads((llama / "config.json").read_text())
    (llama / "config.json").write_text(json.dumps(config | {"model_type": "t5"}))
    out = tmp_path / "m.gguf"
    for command in (
        ("calibrate", llama, "--text", text, "-o", tmp_path / "stats"),
        ("compress", llama, "-o", out, "--codec", "crvq", "--calibration", text),
        ("compress", llama, "-o", out),
        ("eval", out, "--against", llama, "--text", text),
    ):
        result = run.func(*command)
        if command == ("compress", llama, "-o", out):
            assert result.code == 0
            continue
        assert_error(result, "transformers cannot load it as a causal language model",
                     "hint: calibrate, eval and --codec crvq work on causal")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("architecture", OTHERS)
def test_transformers_advice_is_not_for_the_user(
    architecture: str, tiny_model: Callable[[str], Path], text: Path, tmp_path: Path
) -> None:
    """In a process of its own: transformers reads once what it may say."""
    model = tiny_model(architecture)
    code = "from edgecomp.cli import main; main()"
    command = ["calibrate", model, "--text", text, "-o", tmp_path / "stats", *SMALL]
    child = subprocess.run(
        [sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True, check=True
    )
    assert "folder: " in child.stdout
    for line in child.stderr.splitlines():
        assert line.startswith(("calibrate: ", "note: "))


@pytest.mark.parametrize("architecture", MIXTURES)
def test_mixtures_of_experts(
    architecture: str, run: Any, tiny_model: Callable[[str], Path], text: Path, tmp_path: Path
) -> None:
    """Calibration and CRVQ refuse them, winding takes them as the hint says."""
    model, out = tiny_model(architecture), tmp_path / "m.gguf"
    command = run.func  # any command of edgecomp
    for result in (
        run(model, "--text", text, "-o", tmp_path / "stats"),
        command("compress", model, "-o", out, "--codec", "crvq", "--calibration", text),
    ):
        assert_error(
            result, "calibration does not support mixtures of experts (tensor model.layers.0."
        )
        assert "hint: use --codec winding: without --critical it needs no calibration" in result.err
    assert not out.exists()
    assert not (tmp_path / "stats").exists()
    assert command("compress", model, "-o", out, "--codec", "winding").code == 0
    result = command("eval", out, "--against", model, "--text", text)
    if architecture in ("gpt_oss", "granitemoe"):
        assert result.code == 0
    else:
        assert_error(
            result, "evaluation works on mixtures of experts only where a tensor holds all"
        )


def test_wrong_options(run: Any, llama: Path, text: Path, tmp_path: Path) -> None:
    def fails(*options: object, code: int = 1) -> str:
        result = run(llama, "--text", text, "-o", tmp_path / "stats", *options)
        assert_error(result, code=code)
        return str(result.err)

    assert "a context of 33 tokens" in fails("--context", 33)
    assert "no device gpu" in fails("--device", "gpu")
    assert "no device cuda:99" in fails("--device", "cuda:99")
    assert "no device meta" in fails("--device", "meta")
    fails("--windows", 0, code=2)
    fails("--context", 0, code=2)
    assert not (tmp_path / "stats").exists()


def test_wrong_outputs(run: Any, llama: Path, text: Path, tmp_path: Path) -> None:
    def fails(out: Path) -> str:
        result = run(llama, "--text", text, "-o", out, *SMALL)
        assert_error(result)
        return str(result.err)

    assert "is a file, expected a folder" in fails(text)
    assert f"no folder {tmp_path / 'no'}" in fails(tmp_path / "no" / "stats")
    before = sorted(os.listdir(llama))
    assert "it is not a folder of statistics" in fails(llama)
    assert sorted(os.listdir(llama)) == before
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "job.json").symlink_to(text)
    assert "it is not a folder of statistics" in fails(tmp_path / "linked")
    assert text.is_file()
    for name in ("head.safetensors", "index.json", "job.json", "hidden-0.bin"):
        other = tmp_path / f"other-{name}"  # names that others give their files too
        other.mkdir()
        (other / name).write_text('{"queue": 7}')
        fails(other)
        assert (other / name).read_text() == '{"queue": 7}'


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_read_is_never_replaced(run: Any, llama: Path, text: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(llama / "tokenizer.json")
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    before = contents(tmp_path)
    for imatrix, reason in (
        (llama / "model.safetensors", "model.safetensors is a file of the model"),
        (llama / "config.json", "config.json is a file of the model"),
        (tmp_path / "link", "link is a file of the model"),
        (text, "text.txt is the text"),
        (llama / ".." / text.name, "text.txt is the text"),
    ):
        out = tmp_path / "stats"
        result = run(llama, "--text", text, "-o", out, *SMALL, "--imatrix", imatrix)
        assert_error(result, reason, "hint: give another name, such as imatrix.gguf")
    assert contents(tmp_path) == before
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "job.json").write_bytes(text.read_bytes())  # a name that a run gives its files
    result = run(llama, "--text", folder / "job.json", "-o", folder, *SMALL)
    assert_error(result, f"{folder / 'job.json'} lies in {folder}, which is written")
    assert (folder / "job.json").read_bytes() == text.read_bytes()


def test_folder_that_is_not_writable(
    run: Any, llama: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    out = tmp_path / "stats"
    assert_error(run(llama, "--text", text, "-o", out, *SMALL), f"{out}: Permission denied")
