"""`edgecomp run` on the shipped model: text, figures, limits, Ctrl-C, and what it does not need."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.edgecomp.command_line import Result, assert_error
from tests.edgecomp.serving.containers import write_bookworm
from tests.runtime_ops import edgecomp_run

PROMPT = "The old man looked at the sea, and"
LIGHT = """
import sys

class Refuse:
    names = {"torch", "transformers", "safetensors", "tokenizers", "huggingface_hub",
             "starlette", "uvicorn"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
from edgecomp.cli import main
main()
"""
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model."""
    return write_bookworm(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """edgecomp-run for this machine."""
    return edgecomp_run.build("native", tmp_path_factory.mktemp("program"))


def fields(result: Result) -> dict[str, object]:
    """What --json printed."""
    assert (result.code, result.err) == (0, "")
    value = json.loads(result.out)
    assert isinstance(value, dict)
    return value


def test_text_and_figures(container: Path, run: Run) -> None:
    """The text alone is on stdout, and --json has the same one."""
    shown = run("run", container, "-p", PROMPT, "-n", 24)
    assert shown.code == 0
    blank, figures = shown.err.splitlines()
    assert blank == ""
    assert figures.startswith("prompt: 9 tokens, ")
    assert "; text: 24 tokens, " in figures
    value = fields(run("run", container, "-p", PROMPT, "-n", 24, "--json"))
    assert value["text"] == shown.out
    assert len(shown.out) > 24
    assert (value["finish"], value["prompt_tokens"]) == ("length", 9)
    tokens = value["tokens"]
    assert isinstance(tokens, list)
    assert len(tokens) == 24
    for name in ("prompt_tokens_per_second", "generate_tokens_per_second"):
        assert isinstance(value[name], float)


def test_threads_and_memory_change_no_text(container: Path, run: Run) -> None:
    base = ["run", container, "-p", PROMPT, "-n", 16, "--json"]
    one = fields(run(*base, "--threads", 1))
    assert fields(run(*base, "--threads", 2, "--context", 100, "--pin"))["tokens"] == one["tokens"]
    assert len(str(fields(run(*base, "--kv", "int8"))["text"])) > 16


def test_sampling(container: Path, run: Run) -> None:
    base = ["run", container, "-p", PROMPT, "-n", 16, "--json", "--temperature", 1.5]
    texts = [fields(run(*base, "--seed", seed))["text"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    greedy = fields(run(*base[:-2]))["text"]
    assert fields(run(*base, "--top-k", 1))["text"] == greedy
    assert texts[0] != greedy


@pytest.mark.parametrize(
    "options",
    [
        ("-n", "40"),
        ("-n", "40", "--temperature", "1.1", "--seed", "9"),
        ("-n", "40", "--temperature", "0.7", "--top-k", "20", "--top-p", "0.9", "--min-p", "0.02"),
        ("-n", "20", "--kv", "int8"),
        ("-n", "99", "--context", "20", "--ignore-eos"),
    ],
    ids=" ".join,
)
def test_the_text_of_the_program_in_c(
    container: Path, program: list[str], run: Run, options: tuple[str, ...]
) -> None:
    """Byte for byte that of edgecomp-run, whose options are the same."""
    words = ("run", container, "-p", "né le 日本", *options)
    ours, theirs = run(*words), edgecomp_run.run(program, *words)
    assert (ours.code, theirs.returncode) == (0, 0)
    assert ours.out.encode() == theirs.stdout


def test_the_prompt_from_stdin(container: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the line break at its end."""
    stdin = io.TextIOWrapper(io.BytesIO(f"{PROMPT}\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    piped = run("run", container, "-n", 8)
    assert piped.out == run("run", container, "-p", PROMPT, "-n", 8).out
    monkeypatch.setattr(sys, "stdin", None)
    assert_error(run("run", container), 2, "stdin is closed")


def test_the_end_of_the_context(container: Path, run: Run) -> None:
    result = run("run", container, "-p", PROMPT, "-n", 99, "--context", 12, "--ignore-eos")
    assert result.code == 0
    assert "text: 4 tokens" in result.err
    assert result.err.endswith("; the context is full\n")


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("-n", "0"), 2, "--max-tokens"),
        (("--top-p", "1.5"), 2, "--top-p"),
        (("--temperature", "nan"), 2, "--temperature"),
        (("--top-k", "4294967296"), 2, "--top-k"),
        (("--kv", "f8"), 2, "--kv"),
        (("--threads", "65"), 2, "--threads"),
        (("-p", ""), 2, "the prompt is empty"),
        (("--context", "4"), 1, "the prompt has 9 tokens, expected at most 4"),
    ],
)
def test_errors(
    container: Path, run: Run, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    assert_error(run("run", container, "-p", PROMPT, *arguments), code, reason)


def test_files_that_are_no_model(tmp_path: Path, run: Run, container: Path) -> None:
    empty, text, short = tmp_path / "empty", tmp_path / "text", tmp_path / "short"
    empty.touch()
    text.write_text("text" * 100)
    short.write_bytes(container.read_bytes()[:-1000])
    for path in (empty, text, short):
        for command in (("run", path, "-p", "x"), ("bench", path), ("serve", path, "--port", 0)):
            assert_error(run(*command), 1, str(path))
    assert_error(run("run", tmp_path, "-p", "x"), 1, "directory")
    assert_error(run("run", tmp_path / "no", "-p", "x"), 1, "No such file")


def test_ctrl_c_keeps_the_text(container: Path) -> None:
    command = [sys.executable, "-c", "from edgecomp.cli import main; main()", "run",
               str(container), "-p", PROMPT, "-n", "1000000", "--ignore-eos", "--context",
               "100000"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        begun = child.stdout.read(200)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert (begun + out).decode()
    figures = err.decode().splitlines()[-1]
    assert figures.startswith("prompt: 9 tokens")
    assert figures.endswith("; interrupted")


def test_a_full_disk(container: Path) -> None:
    """Under `stdout`, which has no path that could be told."""
    command = [sys.executable, "-c", "from edgecomp.cli import main; main()", "run",
               str(container), "-p", PROMPT, "-n", "5"]  # fmt: skip
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    expected = b"error: No space left on device\nhint: free some space, or write elsewhere\n"
    assert (done.returncode, done.stderr) == (1, expected)


def test_a_light_install(container: Path) -> None:
    """Neither torch nor transformers, nor what serving needs; the first of those is named."""

    def light(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", LIGHT, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    ran = light("run", container, "-p", PROMPT, "-n", 8)
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout) > 8
    assert light("bench", container, "--prefill", 8, "--generate", 2).returncode == 0
    served = light("serve", container)
    assert served.returncode == 1
    assert served.stderr.splitlines() == [
        "error: uvicorn is not installed, this command needs it",
        "hint: pip install 'edgecomp[serve]'",
    ]
