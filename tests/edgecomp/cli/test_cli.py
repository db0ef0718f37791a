"""The command line: data on stdout, one error line with a hint on stderr, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecomp import cli, pipeline
from edgecomp.cli.crvq_options import CrvqOptions
from edgecomp.cli.options import (
    Generator,
    Preset,
    SettingsOptions,
    UsageError,
    settings_from,
)
from edgecomp.cli.trellis_options import TrellisOptions
from edgecomp.compression.workfolder import work_folder_path
from edgecomp.encode import LatticeSettings, PaperSettings, companding
from exporters.bundle import ModelBundle, TensorSource
from exporters.gguf import write_container
from runtime_ops.formats import EncodedTensor, RawFormat
from tests.edgecomp.command_line import assert_error

SMALL = ["--group", "16"]


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
    assert found["table_bytes"] == 2 * companding.LEVELS  # int16, one table for all tensors
    bits = 8 * found["table_bytes"] + sum(8 * row["bytes"] for row in coded)
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


@pytest.mark.slow
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
        (["compress", "m", "-o", "x", "--dim", "7"], "expected 1..4"),
        (["compress", "m", "-o", "x", "--dim", "0"], "greater than or equal to 1"),
        (["compress", "m", "-o", "x", "--group", "0"], "greater than or equal to 1"),
        (["compress", "m", "-o", "x", "--reach", "65"], "less than or equal to 64"),
        (
            ["compress", "m", "-o", "x", "--points", "9", "--points", "16"],
            "--points is given twice",
        ),
        (["compress", "m", "-o", "x", "--box", "0.1"], "--box belongs to the paper preset"),
        (["compress", "m", "-o", "x", "--raw-error", "1"], "--raw-error belongs to the paper"),
        (["compress", "m", "-o", "x", "--preset", "paper", "--dim", "2"], "lattice preset"),
        (["compress", "m", "-o", "x", "--preset", "paper", "--reach", "2"], "lattice preset"),
        (["compress", "m", "-o", "x", "--preset", "paper", "--raw-error", "no"], "number or none"),
        (["compress", "m", "-o", "x", "--preset", "paper", "--raw-error", "nan"], "raw_error is"),
        (["compress", "m", "-o", "x", "--preset", "paper", "--max-error", "-1"], "max_error is"),
        (
            ["compress", "m", "-o", "x", "--preset", "paper", "--points", "9", "--points", "4"],
            "expected an ascending list",
        ),
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


def test_interrupt_while_starting_is_exit_130() -> None:
    """Ctrl-C before typer looks after it: one line, no traceback."""
    code = (
        "import sys, types; module = types.ModuleType('edgecomp.cli.app')\n"
        "def main(): raise KeyboardInterrupt\n"
        "module.main = main; sys.modules['edgecomp.cli.app'] = module\n"
        "from edgecomp.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


def test_interrupt_is_exit_130_and_keeps_finished_tensors(bookworm: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"
    # a shell starts what runs in its background with SIGINT ignored: this test, perhaps
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    child = subprocess.Popen(
        [sys.executable, "-c", code + "from edgecomp.cli import main; main()",
         "compress", str(bookworm), "--preset", "lattice", "--bits", "5", "-o", str(out)],
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
        "hint: what is finished is kept: start again to go on",
    ]
    assert not out.exists()
    assert pipeline.compress(bookworm, out, LatticeSettings(bits=5)).resumed_tensors > 0


def test_options_become_settings() -> None:
    def settings(preset: Preset, **given: Any) -> Any:
        return settings_from(
            None, preset, SettingsOptions(**given), CrvqOptions(), TrellisOptions()
        )

    assert settings(Preset.LATTICE) == LatticeSettings(bits=4.0)
    assert settings(Preset.PAPER) == PaperSettings()
    expected = PaperSettings(points=(225,), box=0.2, classes=1)
    assert settings(Preset.PAPER, points=(225,), box=0.2, classes=1) == expected
    assert settings(Preset.PAPER, bits=4, classes=0) == PaperSettings(points=(225,), classes=0)
    expected = PaperSettings(points=(225, 400), max_error=2e-3, target_error=3e-3, raw_error=None)
    given = {"max_error": 2e-3, "target_error": 3e-3, "raw_error": "none"}
    assert settings(Preset.PAPER, points=(225, 400), **given) == expected
    assert settings(Preset.PAPER, raw_error="0.5") == PaperSettings(raw_error=0.5)
    assert settings(Preset.PAPER, raw_error="0") == PaperSettings(raw_error=0.0)
    even = {"generator": Generator.GOLDEN, "companding": False, "reach": 0}
    expected = LatticeSettings(generator="golden", companded=False, reach=0)
    assert settings(Preset.LATTICE, **even) == expected
    with pytest.raises(UsageError, match="--generator belongs to the lattice preset"):
        settings(Preset.PAPER, **even)
    expected = LatticeSettings(bits=3.0, group=48, dim=3)
    assert settings(Preset.LATTICE, bits=3.0, group=48, dim=3) == expected
    assert settings(Preset.LATTICE, points=(99,)) == LatticeSettings(points=99)
    with pytest.raises(UsageError) as caught:
        settings(Preset.PAPER, bits=20)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ("./bookworm", [[1600], 0.1, 3, 0.006]),
        ("./unet", [[225], 0.1, 3, None]),
        ("./mobilenet", [[1600], 0.8, 4, None]),
    ],
)
def test_published_settings_are_the_examples(
    run, tiny: Path, tmp_path: Path, example: str, expected: list[object]
) -> None:
    shown = run("compress", "--help").out
    command = next(line for line in shown.splitlines() if example in line and "paper" in line)
    out = tmp_path / "m.gguf"
    words = [tiny if word == example else word for word in command.split()[1:]]
    words[words.index("-o") + 1] = out
    assert run(*words).code == 0
    settings = json.loads(run("inspect", out, "--json").out)["settings"]
    assert [settings[key] for key in ("points", "box", "classes", "raw_error")] == expected


def test_raw_tensors_are_named(run, tmp_path: Path, model_writer, tensors) -> None:
    name = "model.layers.0.self_attn.q_proj.weight"
    tensors[name] *= 100
    tensors["small"] = np.ones(9, np.float32)
    folder = model_writer(tmp_path / "m", tensors)
    (folder / "tokenizer.json").write_text("{}")
    command = ["compress", folder, "--preset", "paper", "--points", "225", "-o", tmp_path / "o"]
    report = json.loads(run(*command, "--json").out)
    reasons = {row["name"]: row["reason"] for row in report["raw_tensors"]}
    assert reasons["small"] == "fewer than 10 weights"
    assert reasons[name] == "mean error above 0.006, or no scale fits its weights"
    assert [line for line in report["notes"] if "tokenizer is not stored" in line]
    rows = json.loads(run("inspect", tmp_path / "o", "--json").out)["tensors"]
    raw = {row["name"]: row["bytes"] for row in rows if row["codec"] == "raw"}
    assert {row["name"]: row["bytes"] for row in report["raw_tensors"]} == raw
    text = run(*command).out
    assert f"raw tensors: {len(raw)} of 21; " in text
    assert f"({name})" in text
    assert "1 fewer than 10 weights" in text
    text = run("compress", folder, "-o", tmp_path / "o", *SMALL).out
    assert "raw tensors: 6 of 21; 6 not a matrix\n" in text


def test_many_raw_matrices_are_counted(run, tiny: Path, tmp_path: Path) -> None:
    command = ["compress", tiny, "--preset", "paper", "--raw-error", "0", "-o", tmp_path / "o"]
    text = run(*command).out
    assert "raw tensors: 20 of 20; 20 mean error above 0, or no scale" in text
    assert text.count(".weight") == 8
    assert " and 7 more)" in text


def small_container(path: Path, settings: str, name: str = "w") -> None:
    part = {"raw": np.zeros(1, np.float32)}
    tensor = EncodedTensor(RawFormat("f32"), (1,), part)
    bundle = ModelBundle(
        "m", (TensorSource(name, lambda: tensor),), settings='"' + "s" * 1000 + '"'
    )
    write_container(bundle, path)
    filled = settings.encode(errors="surrogatepass").ljust(1002)
    path.write_bytes(path.read_bytes().replace(b'"' + b"s" * 1000 + b'"', filled))


@pytest.mark.parametrize(
    "settings",
    [
        "not JSON \x1b]0;title\x07\x1b[2J",
        "[" * 1000,
        "[" * 400 + "]" * 400,
        '{"a": NaN}',
        '{"a": 1e999}',
        '"\\ud800"',
        '{"\x9b31m": "\u202e"}',
        "\r\nerror: forged",
    ],
)
def test_hostile_settings(run, tmp_path: Path, settings: str) -> None:
    path = tmp_path / "m.gguf"
    small_container(path, settings, "w\u202e\u2028")
    shown = run("inspect", path)
    assert (shown.code, shown.err) == (0, "")
    assert all(c.isprintable() or c == "\n" for c in shown.out)
    assert "w\\u202e\\u2028" in shown.out
    assert shown.out.count("\n") == 8
    as_json = run("inspect", path, "--json")
    assert (as_json.code, as_json.err) == (0, "")
    assert all(c.isprintable() or c == "\n" for c in as_json.out)
    found = json.loads(as_json.out)
    assert found["tensors"][0]["name"] == "w\u202e\u2028"
    if isinstance(found["settings"], str):
        assert found["settings"].strip() in (settings.strip(), "\ud800")


def test_errors_carry_no_control_characters(run, tmp_path: Path) -> None:
    path = tmp_path / "\x1b[31m.gguf"
    path.write_bytes(b"GGUF")
    result = run("inspect", path)
    assert_error(result, 1, "\\x1b[31m.gguf")
    assert "\x1b" not in result.err


def test_checksums_of_a_large_file_show_progress(
    run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "m.gguf"
    run("compress", tiny, *SMALL, "-o", out)
    monkeypatch.setattr(sys.modules["edgecomp.cli.app"], "LARGE_FILE_BYTES", 1)
    assert "verify: 20/20 tensors" in run("inspect", out, "--verify").err
    assert run("inspect", out).err == ""
