"""The program edgecomp-run: text and figures of a language model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.runtime_ops.edgecomp_run import build, run
from tests.runtime_ops.tiny_llama import tiny_llama, vocabulary

PROMPT = "the end"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return build("native", tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model") / "tiny.gguf")


def generate(program: list[str], model: Path, *words: object, stdin: bytes = b"") -> bytes:
    """The text of a run without the end of text, 40 tokens."""
    asked = ["run", model, "-n", 40, "--ignore-eos", "--quiet", *words]
    done = run(program, *asked, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def test_text_does_not_depend_on_threads_or_the_prompts_place(
    program: list[str], model: Path, tmp_path: Path
) -> None:
    text = generate(program, model, "-p", PROMPT)
    assert text
    prompt = tmp_path / "prompt"
    prompt.write_text(PROMPT)
    for threads in (1, 2, 3, 8):
        assert generate(program, model, "-p", PROMPT, "--threads", threads) == text
    assert generate(program, model, "-f", prompt, "--pin") == text
    assert generate(program, model, "-f", "-", stdin=PROMPT.encode()) == text
    assert generate(program, model, stdin=f"{PROMPT}\n".encode()) == text
    assert generate(program, model, "-p", PROMPT, "--context", 64) == text


def test_seeds(program: list[str], model: Path) -> None:
    def sampled(seed: int) -> bytes:
        return generate(program, model, "-p", PROMPT, "--temperature", 1.5, "--seed", seed)

    assert sampled(1) == sampled(1)
    assert len({sampled(seed) for seed in range(5)}) > 1


@pytest.mark.parametrize("seed", range(6))
def test_text_is_that_of_the_tokens(program: list[str], model: Path, seed: int) -> None:
    """Random bytes, most of them no UTF-8: replaced as Python does it, characters never cut."""
    words = ("-p", PROMPT, "--temperature", 3, "--seed", seed, "-n", 300)
    numbers = [int(line) for line in generate(program, model, *words, "--tokens").splitlines()]
    assert len(numbers) == 300
    symbols = vocabulary()
    values = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in values]
    byte_of = {chr(byte): byte for byte in values} | {
        chr(256 + i): byte for i, byte in enumerate(others)
    }
    raw = b"".join(bytes(byte_of[c] for c in symbols[n]) for n in numbers if n != 0)
    assert generate(program, model, *words).decode() == raw.decode("utf-8", "replace")


def test_end_of_the_context(program: list[str], model: Path) -> None:
    asked = ("run", model, "-p", "abcdefgh", "--context")
    done = run(program, *asked, 12, "-n", 100, "--ignore-eos", "--tokens")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 5  # the last one needs no room
    assert done.stderr.startswith(b"\nnote: the context of 12 tokens is full\nprompt: ")
    done = run(program, *asked, 7)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: the prompt has 8 tokens, the context holds 7\nhint: ")
    empty = run(program, "run", model, "-p", "")
    assert (empty.returncode, empty.stderr.splitlines()[0]) == (2, b"error: the prompt is empty")


def test_pipe_that_closes_early_is_no_error(program: list[str], model: Path) -> None:
    words = [*program, "run", str(model), "-p", PROMPT, "-n", "2000", "--ignore-eos", "--quiet"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(4)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_interrupt_ends_the_text(program: list[str], model: Path) -> None:
    words = [*program, "run", str(model), "-p", PROMPT, "-n", "1000000", "--context", "2000"]
    with subprocess.Popen(
        [*words, "--ignore-eos"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.read(4)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.decode().startswith("\nprompt: ")


def test_bench_measures(program: list[str], model: Path) -> None:
    words = ("--threads", "1,2", "--prefill", 20, "--generate", 5, "--rounds", 2)
    rows = json.loads(run(program, "bench", model, *words, "--json").stdout)
    assert [row["threads"] for row in rows] == [1, 2]
    for row in rows:
        assert (row["prefill_tokens"], row["generate_tokens"], row["rounds"]) == (20, 5, 2)
        assert row["file_bytes"] == model.stat().st_size
        for key in ("prefill_tokens_per_second", "generate_tokens_per_second"):
            assert row[key] > 0
        assert 0 < row["token_bytes"] < row["file_bytes"]
        assert row["read_bytes_per_second"] > 0
        expected = row["generate_tokens_per_second"] * row["token_bytes"]
        assert row["weight_bytes_per_second"] == pytest.approx(expected, rel=1e-4)
        for key in ("prefill_shares", "generate_shares"):
            assert sum(row[key].values()) == pytest.approx(1, abs=1e-3)
            assert len(row[key]) == 5
    one = json.loads(run(program, "bench", model, "--prefill", 8, "--generate", 2, "--json").stdout)
    assert one["threads"] == len(os.sched_getaffinity(0))
    text = run(program, "bench", model, *words).stdout.decode()
    assert text.count("generate  ") == 2
