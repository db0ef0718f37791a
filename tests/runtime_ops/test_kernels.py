"""Every kernel against the reference, byte for byte: here, sanitized, and emulated for ARM."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from runtime_ops import kernels, native, reference
from tests.runtime_ops import (
    case_file,
    crvq_vectors,
    harness,
    integer_vectors,
    trellis_vectors,
    uniform_vectors,
    vectors,
)


@pytest.fixture(scope="session")
def cases() -> list[vectors.Case]:
    """Every case: windings, codebooks, reordered columns, trellises, and group integers."""
    families = [
        vectors.winding_cases(),
        crvq_vectors.crvq_cases(),
        crvq_vectors.table_cases(),
        crvq_vectors.columns_cases(),
        trellis_vectors.trellis_cases(),
        trellis_vectors.rotation_cases(),
        trellis_vectors.columns_cases(),
        uniform_vectors.uniform_cases(),
        integer_vectors.integer_cases(),
    ]
    return [case for family in families for case in family]


@pytest.fixture(scope="session")
def vector_file(cases: list[vectors.Case], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases in one file."""
    path = tmp_path_factory.mktemp("vectors") / "cases.bin"
    path.write_bytes(b"".join(map(case_file.packed, cases)))
    return path


@pytest.mark.parametrize("target", harness.EVERY_TARGET)
def test_kernels_return_the_reference_bytes(
    target: str, cases: list[vectors.Case], vector_file: Path, tmp_path: Path
) -> None:
    """One program, many builds; the expected instruction sets must have run every case."""
    command = [*harness.command("vectors", target, tmp_path), str(vector_file)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    results = dict(re.findall(r"^(\w+): (\d+ cases, \d+ differ)$", run.stdout, flags=re.M))
    expected = f"{len(cases)} cases, 0 differ"
    assert results == dict.fromkeys(harness.expected_sets(target), expected)


def test_every_kernel_is_run_by_some_target() -> None:
    """A row of kernels.inc whose instruction set no target runs would go untested."""
    table = kernels.kernel_table()
    assert len(table) == len(set(table))
    assert {kernel.instruction_set for kernel in table} == harness.tested_sets()
    assert {kernel.operation for kernel in table} == set(kernels.OPERATIONS)
    for operation, (specification, _) in kernels.OPERATIONS.items():
        assert kernels.Kernel(operation, "scalar") in table, "what other sets fall back on"
        assert hasattr(reference, specification)


@pytest.mark.skipif(
    not harness.IN_CI and not set(native.instruction_sets()) >= harness.REQUIRED,
    reason=f"{sorted(harness.REQUIRED)} NOT TESTED: not on this CPU",
)
def test_this_machine_has_the_sets_that_ci_requires() -> None:
    """In CI a kernel that this machine cannot run is a failure, not a kernel less."""
    assert set(native.instruction_sets()) >= harness.REQUIRED


@pytest.mark.parametrize("isa", native.instruction_sets())
def test_bindings_return_the_reference_bytes(isa: str, cases: list[vectors.Case]) -> None:
    """The same through cffi, on every seventh case."""
    for number, case in enumerate(cases):
        if number % 7:
            continue
        if case.op == vectors.DECODE:
            got = native.decode_range(case.tensor, case.first, case.count, isa)
        elif case.op == vectors.ROWS:
            got = native.decode_rows(case.tensor, case.first, case.count, isa)
        elif case.op == vectors.GEMV:
            y = native.gemv(case.tensor, case.x, isa, case.threads)
            got = y[case.first : case.first + case.count]
        elif case.op == vectors.PREPARE:
            got = native.NativeMatrix(case.tensor, isa).prepare(case.x)
        elif case.op == vectors.MATMUL_I8:
            y = native.NativeMatrix(case.tensor, isa).matmul_i8(case.x, threads=2)
            got = y[:, case.first : case.first + case.count]
        else:
            y = native.gemm(case.tensor, case.x, isa, threads=2)
            got = y[:, case.first : case.first + case.count]
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
    with pytest.raises(TypeError, match="x is a list"):
        native.gemv(tensor, [0.0] * 40)
    with pytest.raises(ValueError, match="instruction set is 'sse9'"):
        native.decode(tensor, "sse9")
