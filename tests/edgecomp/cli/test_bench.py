"""`edgecomp bench`: what it prints, and that its figures belong together."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.generation.read_bandwidth import read_bandwidth
from edgecomp.generation.speed import SLICE, slices
from tests.edgecomp.command_line import Result, assert_error
from tests.edgecomp.serving.containers import write_bookworm

Run = Callable[..., Result]
QUICK = ("--prefill", 16, "--generate", 4, "--rounds", 2)
PARTS = {"attention projections", "feed-forward", "head", "attention", "other"}


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model."""
    return write_bookworm(tmp_path_factory.mktemp("bench"))


def test_json(container: Path, run: Run) -> None:
    result = run("bench", container, *QUICK, "--threads", "1", "--json")
    assert result.code == 0
    value = json.loads(result.out)
    assert value["threads"] == 1
    assert value["file_bytes"] == container.stat().st_size
    assert value["token_bytes"] < value["file_bytes"]
    assert (value["prefill_tokens"], value["generate_tokens"], value["rounds"]) == (16, 4, 2)
    assert value["prefill_tokens_per_second"] > 0
    reached = value["generate_tokens_per_second"] * value["token_bytes"]
    assert value["weight_bytes_per_second"] == pytest.approx(reached)
    share = reached / value["read_bytes_per_second"]
    assert value["bandwidth_share"] == pytest.approx(share)
    assert 0 < share < 1
    for stage in ("prefill_shares", "generate_shares"):
        assert set(value[stage]) == PARTS
        assert sum(value[stage].values()) == pytest.approx(1)
    assert "bench: 2/2 rounds" in result.err


def test_several_numbers_of_threads(container: Path, run: Run) -> None:
    value = json.loads(run("bench", container, *QUICK, "--threads", "2,1", "--json").out)
    assert [row["threads"] for row in value] == [2, 1]
    result = run("bench", container, *QUICK, "--threads", "1,2", "--kv", "int8")
    assert result.code == 0
    head, one, two, blank, stages, *parts = result.out.splitlines()
    assert head.split()[0] == "threads"
    assert (one.split()[0], two.split()[0], blank) == ("1", "2", "")
    assert stages.count("generate, ") == 2
    assert {line.split("  ")[0] for line in parts} == PARTS


@pytest.mark.parametrize("threads", ["", "1,", "-1", "65", "1;2", "x"])
def test_wrong_threads(container: Path, run: Run, threads: str) -> None:
    assert_error(run("bench", container, f"--threads={threads}"), 2, "--threads is")


@pytest.mark.parametrize("n_bytes", [1, 100_000, 5_000_000])
def test_read_bandwidth(n_bytes: int) -> None:
    """No machine that runs this reads less than 50 MB/s, or more than 100 TB/s."""
    for threads in (1, 2):
        assert 5e7 < read_bandwidth(n_bytes, threads) < 1e14


def test_ctrl_c_in_a_prompt(container: Path) -> None:
    """It is heard between two slices of the prompt, and nothing is said to be kept."""
    assert [len(each) for each in slices([0] * (2 * SLICE + 1))] == [SLICE, SLICE, 1]
    command = [sys.executable, "-u", "-c", "from edgecomp.cli import main; main()", "bench",
               str(container), "--prefill", "65536"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stderr is not None
        child.stderr.read(10)  # progress: it measures
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, b"")
    assert err.splitlines()[-1] == b"error: interrupted"
