"""The command line: data on stdout, one error line with a hint on stderr, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgecomp import cli, pipeline
from edgecomp.cli.options import Generator, Preset, SettingsOptions, UsageError, settings_from
from edgecomp.compression.workfolder import work_folder_path
from edgecomp.encode import LatticeSettings, PaperSettings

SMALL = ["--group", "16"]


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["edgecomp", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        captured = capsys.readouterr()
        code = exit_.value.code
        return Result(code if isinstance(code, int) else 0, captured.out, captured.err)

    return call


def assert_error(result: Result, code: int, *reasons: str) -> None:
    assert result.code == code
    assert result.out == ""
    error, hint = result.err.splitlines()[-2:]
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert len(hint) > len("hint: ")
    for reason in reasons:
        assert reason in result.err
    assert "Traceback" not in result.err


def test_compress_and_inspect(run, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"
    result = run("compress", tiny, *SMALL, "-o", out)
    assert result.code == 0
    facts = dict(line.split(": ") for line in result.out.splitlines())
    assert facts["bytes"] == str(out.stat().st_size)
    assert "encode: 20/20 tensors" in result.err
    shown = run("inspect", out, "--verify")
    assert shown.code == 0
    assert "checksums: all right" in shown.out
    assert f"file bytes: {out.stat().st_size}" in shown.out
    assert f"whole-file bpw: {facts['whole-file bpw']}" in shown.out
    assert "model.layers.1.self_attn.o_proj.weight" in shown.out
    assert "16x16" in shown.out
    assert shown.err == ""


def test_json_of_compress_and_inspect(run, tiny: Path, tmp_path: Path, tensors) -> None:
    out = tmp_path / "m.gguf"
    report = json.loads(run("compress", tiny, *SMALL, "-o", out, "--json").out)
    found = json.loads(run("inspect", out, "--json").out)
    n_weights = sum(array.size for array in tensors.values())
    assert report["file_bytes"] == found["file_bytes"] == out.stat().st_size
    assert report["bpw"] == found["bpw"] == 8 * out.stat().st_size / n_weights
    assert {row["name"]: tuple(row["shape"]) for row in found["tensors"]} == {
        name: array.shape for name, array in tensors.items()
    }
    assert found["damaged"] is None
    assert found["settings"]["preset"] == "lattice"
    assert found["settings"]["group"] == 16
    coded = [row for row in found["tensors"] if row["codec"] == "winding"]
    assert 0 < len(coded) < len(found["tensors"])
    bits = sum(8 * row["bytes"] for row in coded)
    weights = sum(tensors[row["name"]].size for row in coded)
    assert found["body_bpw"] == pytest.approx(bits / weights)
    for row in found["tensors"]:
        assert row["bpw"] == 8 * row["bytes"] / tensors[row["name"]].size


def test_damaged_container(run, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"
    run("compress", tiny, *SMALL, "-o", out)
    content = bytearray(out.read_bytes())
    position = content.rindex(b"\x00" * 8) - 64
    content[position] ^= 1
    out.write_bytes(content)
    result = run("inspect", out, "--verify", "--json")
    assert result.code == 1
    damaged = json.loads(result.out)["damaged"]
    assert len(damaged) == 1
    assert f"such as {damaged[0]}" in result.err
    assert "hint: " in result.err


def test_eval(run, bookworm: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.gguf"
    assert run("compress", bookworm, "--bits", 6, "--dim", 1, "-o", out).code == 0
    text = Path(pipeline.__file__).parent / "data" / "bookworm_valid.txt"
    result = run("eval", out, "--against", bookworm, "--text", text, "--windows", 1, "--json")
    scores = json.loads(result.out)
    assert set(scores) == {"original", "b.gguf"}
    assert scores["original"]["kl"] == 0
    assert scores["b.gguf"]["tokens"] == 255
    assert 0 < scores["b.gguf"]["kl"] < 0.1
    table = run("eval", out, "--against", bookworm, "--text", text, "--windows", 1)
    assert f"{scores['b.gguf']['ppl']:.3f}" in table.out
    assert_error(
        run("eval", out, "--against", bookworm, "--text", text, "--windows", 100),
        1,
        "expected 25600 (100 windows of 256)",
    )
    missing = tmp_path / "missing.txt"
    assert_error(run("eval", out, "--against", bookworm, "--text", missing), 1, "missing.txt")
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9")
    assert_error(run("eval", out, "--against", bookworm, "--text", latin), 1, "not UTF-8")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "no command"),
        (["explode"], "No such command"),
        (["compress"], "Missing argument"),
        (["compress", "m"], "--output"),
        (["compress", "m", "-o", "x", "--bits", "many"], "--bits"),
        (["compress", "m", "-o", "x", "--codec", "zip"], "--codec"),
        (["compress", "m", "-o", "x", "--frobnicate"], "--frobnicate"),
        (["compress", "m", "-o", "x", "--bits", "4", "--points", "9"], "both --bits and --points"),
        (["compress", "m", "-o", "x", "--bits", "99"], "bits is 99.0, expected"),
        (["compress", "m", "-o", "x", "--dim", "7"], "dim is 7, expected 1..4"),
        (["compress", "m", "-o", "x", "--box", "0.1"], "belong to the paper preset"),
        (["compress", "m", "-o", "x", "--preset", "paper", "--dim", "2"], "lattice preset"),
        (["compress", "m", "-o", "x", "--preset", "paper", "--classes", "99"], "classes is 99"),
        (["compress", "m", "-o", "x", "--preset", "paper", "--box", "nan"], "box is nan"),
        (["eval", "f", "--against", "m", "--text", "t", "--windows", "0"], "--windows"),
    ],
)
def test_wrong_usage_is_exit_2(run, arguments: list[str], reason: str) -> None:
    assert_error(run(*arguments), 2, reason)


def test_failures_are_exit_1(run, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"
    assert_error(run("compress", tmp_path / "no", "-o", out), 1, "no folder")
    assert_error(run("compress", tiny, "-o", tmp_path), 1, "is a folder")
    assert_error(run("inspect", tmp_path / "no.gguf"), 1, "No such file")
    assert_error(run("inspect", tiny / "config.json"), 1, "config.json: ")
    assert_error(run("inspect", tmp_path), 1, "regular file")
    (tiny / "config.json").unlink()
    assert_error(run("compress", tiny, "-o", out), 1, "no config.json")
    assert not out.exists()


def test_weights_that_are_not_finite(run, tmp_path: Path, model_writer, tensors) -> None:
    tensors["model.norm.weight"][0] = float("nan")
    folder = model_writer(tmp_path / "bad", tensors)
    result = run("compress", folder, *SMALL, "-o", tmp_path / "m.gguf")
    assert_error(result, 1, "tensor model.norm.weight", "nothing was written")


def test_missing_extra_says_what_to_install(run, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_torch(*arguments: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(pipeline, "evaluate", no_torch)
    result = run("eval", "f", "--against", "m", "--text", "t")
    assert_error(result, 1, "torch is not installed", "pip install 'edgecomp[compress]'")


def test_bugs_and_debug_show_tracebacks(run, monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    result = run("--debug", "inspect", tiny / "no.gguf")
    assert result.code == 1
    assert "Traceback" in result.err
    assert result.err.splitlines()[-2].startswith("error: ")

    def bug(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(pipeline, "inspect", bug)
    monkeypatch.setattr(sys, "argv", ["edgecomp", "inspect", "f"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_version_and_help(run) -> None:
    assert run("--version").out.startswith("edgecomp 0.")
    for command in ("compress", "inspect", "eval", "demo"):
        shown = run(command, "--help")
        assert shown.code == 0
        assert f"      edgecomp {command} " in shown.out.replace("    edgecomp", "      edgecomp")
        assert "--json" in shown.out


def test_closed_pipe_is_quiet(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"
    pipeline.compress(tiny, out, LatticeSettings(group=16))
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; from edgecomp.cli import main; time.sleep(.5); main()",
         "inspect", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == ""
    child.stderr.close()
    assert child.wait() == 1


def test_interrupt_is_exit_130_and_keeps_finished_tensors(bookworm: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"
    child = subprocess.Popen(
        [sys.executable, "-c", "from edgecomp.cli import main; main()",
         "compress", str(bookworm), "--bits", "5", "-o", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while child.poll() is None and not (work_folder_path(out) / "000000.gguf").exists():
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    stdout, stderr = child.communicate()
    assert child.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-2:] == [
        "error: interrupted",
        "hint: compress keeps finished tensors: start it again to go on",
    ]
    assert not out.exists()
    assert pipeline.compress(bookworm, out, LatticeSettings(bits=5)).resumed_tensors > 0


def test_options_become_settings() -> None:
    nothing = SettingsOptions()
    assert settings_from(Preset.LATTICE, nothing) == LatticeSettings(bits=4.0)
    assert settings_from(Preset.PAPER, nothing) == PaperSettings()
    options = SettingsOptions(points=225, box=0.2, classes=1)
    expected = PaperSettings(points=(225,), box=0.2, classes=1)
    assert settings_from(Preset.PAPER, options) == expected
    four_bits = settings_from(Preset.PAPER, SettingsOptions(bits=4, classes=2))
    assert four_bits == PaperSettings(points=(225,), classes=2)
    even = SettingsOptions(generator=Generator.GOLDEN, companding=False)
    assert settings_from(Preset.LATTICE, even) == LatticeSettings(
        generator="golden", companded=False
    )
    with pytest.raises(UsageError, match="belong to the lattice preset"):
        settings_from(Preset.PAPER, even)
    options = SettingsOptions(bits=3.0, group=48, dim=3)
    assert settings_from(Preset.LATTICE, options) == LatticeSettings(bits=3.0, group=48, dim=3)
    with pytest.raises(UsageError) as caught:
        settings_from(Preset.PAPER, SettingsOptions(bits=20))
    assert caught.value.hint
