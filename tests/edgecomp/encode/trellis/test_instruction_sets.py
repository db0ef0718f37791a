"""The C search gives the same bytes whatever it is compiled for."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import numpy as np
import pytest

from edgecomp.encode.trellis.viterbi import state_values
from tests.edgecomp.encode.trellis.jobs import Job, job_of

HERE = Path(__file__).parent
CSRC = HERE.parents[3] / "edgecomp" / "encode" / "csrc"
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror")
CASES = [(1, 8), (1.5, 8), (4, 8), (3, 10), (2, 12), (8, 12)]


@dataclass(frozen=True)
class Target:
    """A compiler and its flags, the flag in /proc/cpuinfo that the program needs, an emulator."""

    compiler: str
    flags: tuple[str, ...] = ()
    cpu_flag: str | None = None
    emulator: str | None = None


TARGETS = {
    "gcc": Target("gcc"),
    "gcc, baseline": Target("gcc", ("-DEC_ONE_INSTRUCTION_SET",)),
    "gcc, AVX2": Target("gcc", ("-DEC_ONE_INSTRUCTION_SET", "-march=x86-64-v3"), "avx2"),
    "gcc, AVX-512": Target("gcc", ("-DEC_ONE_INSTRUCTION_SET", "-march=x86-64-v4"), "avx512vl"),
    "clang, AVX-512": Target("clang", ("-march=x86-64-v4",), "avx512vl"),
    "clang": Target("clang", ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")),
    "aarch64": Target("aarch64-linux-gnu-gcc", ("-static",), emulator="qemu-aarch64-static"),
}


def program(name: str, folder: Path) -> list[str]:
    """The command that runs a target's program.

    Skips where it cannot be built or run; in CI all tools must be installed.
    """
    target = TARGETS[name]
    missing = [tool for tool in (target.compiler, target.emulator) if tool and not which(tool)]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"no {missing[0]}")
    assert not missing, f"{missing} must be installed in CI"
    if target.cpu_flag is not None:
        info = Path("/proc/cpuinfo")
        if platform.machine() != "x86_64" or target.cpu_flag not in info.read_text().split():
            pytest.skip(f"no {target.cpu_flag}")
    path = folder / "encode_case"
    sources = (str(HERE / "encode_case.c"), str(CSRC / "trellis.c"))
    command = [target.compiler, *FLAGS, *target.flags, f"-I{CSRC}", *sources, "-o", str(path)]
    subprocess.run(command, check=True)
    return [str(path)] if target.emulator is None else [target.emulator, str(path)]


def job_bytes(job: Job, band_bytes: int) -> bytes:
    """The job as the program reads it."""
    fmt, (rows, columns) = job.format, job.targets.shape
    fed = job.feedback is not None
    head = [fmt.state_bits, fmt.step_bits, fmt.dim, rows, columns]
    head += [band_bytes, fed]
    arrays = [np.array(head, "<u4"), state_values(fmt), fmt.order.astype(np.uint8)]
    arrays += [job.targets, job.row_weights, job.column_weights]
    if job.feedback is not None:
        arrays.append(job.feedback)
    return b"".join(array.tobytes() for array in arrays)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_every_instruction_set_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    """Codes, values and targets of the extension module's, with feedback and without."""
    command = program(name, tmp_path)
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    for bits, state_bits in CASES:
        for feedback in (False, True):
            job = job_of(bits, state_bits, (32, 24 if feedback else 72), feedback)
            expected = job.run()
            stdin = job_bytes(job, expected.codes.shape[1])
            run = subprocess.run(
                command, input=stdin, env=environment, stdout=subprocess.PIPE, check=True
            )
            arrays = (expected.codes, expected.values, expected.targets)
            assert run.stdout == b"".join(array.tobytes() for array in arrays)
