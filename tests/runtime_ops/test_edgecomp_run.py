"""The program edgecomp-run: tensors as the reference decodes them, text, figures, and mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest

from exporters.gguf import Container
from runtime_ops import reference
from tests.exporters.broken import GOLDEN
from tests.runtime_ops.edgecomp_run import ROOT, build, run
from tests.runtime_ops.tiny_llama import tiny_llama

COMMANDS = ("run", "bench", "measure", "decode", "list")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return build("native", tmp_path_factory.mktemp("program"))


def weights(name: str) -> bytes:
    """A tensor of the golden file, as the reference decodes it."""
    return reference.decode(Container(GOLDEN.read_bytes()).read(name)).tobytes()


def test_decode_writes_what_the_reference_decodes(program: list[str], tmp_path: Path) -> None:
    out = tmp_path / "weights.f32"
    for tensor in Container(GOLDEN.read_bytes()).tensors:
        done = run(program, "decode", GOLDEN, tensor.name, "-o", out)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert out.read_bytes() == weights(tensor.name), tensor.name
        assert run(program, "decode", GOLDEN, tensor.name).stdout == weights(tensor.name)
    assert list(tmp_path.iterdir()) == [out], "nothing else is left"


def test_decode_does_not_replace_what_it_reads(program: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(GOLDEN.read_bytes())
    (tmp_path / "b.gguf").hardlink_to(path)
    for out in (path, tmp_path / "b.gguf"):
        done = run(program, "decode", path, "trellis.a", "-o", out)
        text = f"error: -o: {out} is the file that is read\nhint: name another file\n"
        assert (done.returncode, done.stderr.decode()) == (2, text)
    assert path.read_bytes() == GOLDEN.read_bytes()


@pytest.mark.parametrize(("rows", "first", "end"), [("3:5", 3, 5), (":2", 0, 2), ("16:", 16, 17)])
def test_decode_takes_rows(program: list[str], rows: str, first: int, end: int) -> None:
    whole = np.frombuffer(weights("trellis.a"), np.float32).reshape(17, 6)
    done = run(program, "decode", GOLDEN, "trellis.a", "--rows", rows)
    assert done.stdout == whole[first:end].tobytes()


def test_decode_of_more_than_a_piece(program: list[str], tmp_path: Path) -> None:
    """Tensors of more weights than are decoded at a time, with long and with short rows."""
    large = {"model.embed_tokens.weight": (20, 60_000), "lm_head.weight": (40_000, 64)}
    path = tiny_llama(tmp_path / "large.gguf", sides=large)
    container = Container(path.read_bytes())
    for name in large:
        expected = reference.decode(container.read(name)).tobytes()
        assert run(program, "decode", path, name).stdout == expected, name


def test_list_names_all_tensors(program: list[str]) -> None:
    container = Container(GOLDEN.read_bytes())
    rows = json.loads(run(program, "list", GOLDEN, "--json").stdout)
    found = [(row["name"], tuple(row["shape"])) for row in rows]
    assert found == [(tensor.name, tensor.shape) for tensor in container.tensors]
    assert {"f16", "trellis", "winding+trellis", "winding+crvq"} <= {row["codec"] for row in rows}
    lines = run(program, "list", GOLDEN).stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == [row["name"] for row in rows]


def test_version_is_the_projects(program: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = run(program, "--version").stdout.decode().splitlines()
    assert lines[0] == f"edgecomp-run {project['version']}"
    assert lines[1].startswith("instruction sets: scalar")


def test_help_is_data(program: list[str]) -> None:
    whole = run(program, "--help")
    assert (whole.returncode, whole.stderr) == (0, b"")
    for name in COMMANDS:
        done = run(program, name, "--help")
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(f"edgecomp-run {name} FILE".encode())
        assert f"edgecomp-run {name} FILE".encode() in whole.stdout
        assert max(map(len, done.stdout.splitlines())) <= 110


USAGE = {
    "frob": "no such command: frob",
    "run": "a word is missing",
    "run a b": "one word too many: b",
    "run a --nope": "no such option: --nope",
    "run a -n": "no value for: -n",
    "run a -n 1x": "-n: 1x",
    "run a -n -1": "-n: -1",
    "run a -n 99999999999999999999": "-n: 99999999999999999999",
    "run a --threads 65": "--threads: 65",
    "run a --temperature nan": "--temperature: nan",
    "run a --temperature -1": "--temperature: -1",
    "run a --top-p 1.5": "--top-p: 1.5",
    "run a --min-p=0x1": "--min-p: 0x1",
    "run a --seed 18446744073709551616": "--seed: 18446744073709551616",
    "run a --kv f32": "--kv: f32",
    "run a --pin=1": "an option without a value: --pin=1",
    "run a -p x -f y": "-p and -f both name a prompt",
    "bench a --threads 1,,2": "--threads: 1,,2",
    "bench a --threads 1,x": "--threads: 1,x",
    "bench a --rounds 0": "--rounds: 0",
    "decode a": "a word is missing",
    f"decode {GOLDEN} trellis.a --rows 2:18": "--rows: 2:18 of 17 rows",
    f"decode {GOLDEN} trellis.a --rows 3:2": "--rows: 3:2 of 17 rows",
    f"decode {GOLDEN} trellis.a --rows 3": "--rows: 3 of 17 rows",
}


@pytest.mark.parametrize("words", USAGE)
def test_mistakes_of_usage(program: list[str], words: str) -> None:
    done = run(program, *words.split())
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout, lines[0]) == (2, b"", f"error: {USAGE[words]}")
    assert len(lines) == 2
    assert lines[1].startswith("hint: ")


def test_no_command_is_a_mistake_of_usage(program: list[str]) -> None:
    done = run(program)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == run(program, "--help").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_files_that_are_none(program: list[str], command: str, tmp_path: Path) -> None:
    empty, pipe, short = tmp_path / "empty", tmp_path / "pipe", tmp_path / "short\n"
    empty.touch()
    os.mkfifo(pipe)
    short.write_bytes(GOLDEN.read_bytes()[:-40])
    reasons = {
        tmp_path / "none": "No such file or directory",
        tmp_path: "a directory",
        Path("/dev/zero"): "not a regular file",
        pipe: "not a regular file",
        empty: "an empty file",
        short: "",
    }
    for path, reason in reasons.items():
        words = [command, path, *(["x"] if command == "decode" else [])]
        done = run(program, *words)
        lines = done.stderr.decode().splitlines()
        assert (done.returncode, done.stdout) == (1, b""), path
        assert lines[0].startswith("error: ")
        assert lines[0].endswith(reason)
        assert len(lines) <= 2


def test_no_such_tensor(program: list[str]) -> None:
    done = run(program, "decode", GOLDEN, "trellis.z")
    assert done.stderr.decode().splitlines()[0] == "error: no tensor of this name: trellis.z"
    assert done.returncode == 1


def test_output_that_cannot_be_written(program: list[str], tmp_path: Path) -> None:
    place = tmp_path / "none" / "out"
    done = run(program, "decode", GOLDEN, "trellis.a", "-o", place)
    assert (done.returncode, done.stdout) == (1, b"")
    with open("/dev/full", "wb") as full:
        for words in (["decode", str(GOLDEN), "trellis.a"], ["list", str(GOLDEN)], ["--help"]):
            done = subprocess.run(
                [*program, *words], stdout=full, stderr=subprocess.PIPE, check=False
            )
            assert done.returncode == 1, words
            assert done.stderr == b"error: standard output: No space left on device\n"
    done = run(program, "decode", GOLDEN, "trellis.a", "-o", "/dev/null")
    assert (done.returncode, Path("/dev/null").is_char_device()) == (0, True)
