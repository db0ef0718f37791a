"""Threads that share loops: every part of every job runs exactly once, on every machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.runtime_ops.harness import CSRC, EVERY_TARGET, FLAGS, IN_CI, command

# Jobs for each of 1 to 8 threads.
NATIVE_JOBS = {"native": 150_000, "sanitized": 20_000, "clang": 20_000}
EMULATED_JOBS = 2_000
PASSED = ["jobs", "pauses", "slow parts", "lives", "two callers", "pinning", "numbers"]


@pytest.mark.parametrize("target", EVERY_TARGET)
def test_every_part_of_every_job_runs_exactly_once(target: str, tmp_path: Path) -> None:
    jobs = NATIVE_JOBS.get(target, EMULATED_JOBS)
    done = subprocess.run(
        [*command("pool", target, tmp_path), str(jobs)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.splitlines()) == (0, PASSED), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_data_race(compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None and not IN_CI:
        pytest.skip(f"NOT TESTED: no {compiler} on this machine")
    program = tmp_path / "pool"
    sources = [CSRC / "programs" / "pool_main.c", CSRC / "runner/pool.c", CSRC / "runner/cores.c"]
    build = [compiler, *FLAGS, "-O1", "-g", "-fsanitize=thread", "-pthread"]
    subprocess.run([*build, *map(str, sources), "-o", str(program)], check=True)
    done = subprocess.run([str(program), "5000"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (0, PASSED), done.stderr
