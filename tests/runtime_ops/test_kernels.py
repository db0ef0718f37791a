"""Every kernel against the reference, byte for byte: here, sanitized, and emulated for ARM."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from runtime_ops import kernels, native, reference
from tests.runtime_ops import vectors

CSRC = Path(__file__).parents[2] / "runtime_ops" / "csrc"
FLAGS = ["-std=c99", "-O3", "-ffp-contract=off", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
SANITIZE = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
TARGETS = {
    "native": ("gcc", [], [], {"scalar"}),
    "sanitized": ("gcc", SANITIZE, [], {"scalar"}),
    "aarch64": ("aarch64-linux-gnu-gcc", ["-static"], ["qemu-aarch64-static"], {"scalar", "neon"}),
    "armv7": (
        "arm-linux-gnueabihf-gcc",
        ["-static"],
        ["qemu-arm-static"],
        {"scalar", "neon_armv7"},
    ),
}


@pytest.fixture(scope="session")
def vector_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases in one file."""
    path = tmp_path_factory.mktemp("vectors") / "cases.bin"
    path.write_bytes(b"".join(map(vectors.packed, vectors.cases())))
    return path


def build(target: str, folder: Path) -> list[str]:
    """The command that runs the harness built for `target`; skips without tools, unless in CI."""
    compiler, flags, emulator, _ = TARGETS[target]
    missing = [tool for tool in [compiler, *emulator] if shutil.which(tool) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"{target} kernels NOT TESTED: no {', '.join(missing)} on this machine")
    assert not missing, f"{missing} must be installed in CI"
    program = folder / f"vectors-{target}"
    sources = [str(p) for p in sorted(CSRC.glob("*.c")) if not p.name.endswith("_main.c")]
    sources.append(str(CSRC / "vectors_main.c"))
    subprocess.run([compiler, *FLAGS, *flags, *sources, "-o", str(program)], check=True)
    return [*emulator, str(program)]


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_return_the_reference_bytes(target: str, vector_file: Path, tmp_path: Path) -> None:
    """One harness, four builds; the expected instruction sets must have run every case."""
    command = build(target, tmp_path)
    run = subprocess.run([*command, str(vector_file)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    results = dict(re.findall(r"^(\w+): (\d+ cases, \d+ differ)$", run.stdout, flags=re.M))
    n_cases = sum(1 for _ in vectors.cases())
    expected = set(TARGETS[target][3])
    if target in ("native", "sanitized"):
        expected |= set(native.instruction_sets())
    assert results == dict.fromkeys(expected, f"{n_cases} cases, 0 differ")


def test_every_kernel_is_run_by_some_target() -> None:
    """A row of kernels.inc whose instruction set no target runs would go untested."""
    tested = set().union(*(target[3] for target in TARGETS.values())) | {"avx2"}
    table = kernels.kernel_table()
    assert len(table) == len(set(table))
    for operation, (specification, _) in kernels.OPERATIONS.items():
        sets = {kernel.instruction_set for kernel in table if kernel.operation == operation}
        assert sets == tested, f"{operation} lacks an instruction set, or has one that none runs"
        assert hasattr(reference, specification)
    assert {kernel.operation for kernel in table} == set(kernels.OPERATIONS)


@pytest.mark.skipif(
    "avx2" not in native.instruction_sets(), reason="AVX2 NOT TESTED: not on this CPU"
)
def test_avx2_is_the_best_here() -> None:
    """Dispatch takes the fastest set there is."""
    assert native.instruction_sets()[-1] == "avx2"


@pytest.mark.parametrize("isa", native.instruction_sets())
def test_bindings_return_the_reference_bytes(isa: str) -> None:
    """The same through cffi, on every seventh case."""
    for number, case in enumerate(vectors.cases()):
        if number % 7:
            continue
        if case.op == vectors.DECODE:
            got = native.decode_range(case.tensor, case.first, case.count, isa)
        elif case.op == vectors.ROWS:
            got = native.decode_rows(case.tensor, case.first, case.count, isa)
        else:
            got = native.gemv(case.tensor, case.x, isa)
        assert got.tobytes() == case.expected.tobytes(), (number, case.tensor.format)


def test_ranges_outside_the_tensor_are_refused() -> None:
    """No range that touches a weight outside, at either end or by overflow."""
    tensor = vectors.random_tensor(vectors.LATTICE, (3, 40), np.random.default_rng(0))
    for first, count in ((0, 121), (120, 1), (121, 0), (1 << 61, 1 << 61), (2, 119)):
        with pytest.raises(ValueError, match="expected a range of 0 to 120"):
            native.decode_range(tensor, first, count)
    with pytest.raises(ValueError, match="rows 2 to 4, expected a range of 0 to 3"):
        native.decode_rows(tensor, 2, 2)
    with pytest.raises(ValueError, match=r"expected float32\(40,\)"):
        native.gemv(tensor, np.zeros(41, np.float32))
    with pytest.raises(ValueError, match="instruction set is 'sse9'"):
        native.decode(tensor, "sse9")
