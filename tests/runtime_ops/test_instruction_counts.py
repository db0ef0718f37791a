"""The NEON instructions that docs/kernels.md states, counted in what the compiler makes."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

import pytest

from runtime_ops import kernels
from tests.runtime_ops.harness import CSRC, FLAGS, IN_CI

COMPILER = "aarch64-linux-gnu-gcc"
OBJDUMP = "aarch64-linux-gnu-objdump"
FILES = {"neon": "trellis_i8_neon", "neon_dotprod": "trellis_i8_dotprod"}
# Products of 16 weights: of the one, or of each of two instructions.
PRODUCTS = {"sdot": 16, "smull": 8, "smull2": 8, "smlal": 8, "smlal2": 8}
# What keeps up with the memory of a Raspberry Pi 5 at two bits, and of one without dot products.
BUDGET = {"neon": 10.0, "neon_dotprod": 7.0}
BUDGET_LOOP = "k2_l8_t64"

FUNCTION = re.compile(r"^[0-9a-f]+ <(\w+)>:$")
INSTRUCTION = re.compile(r"^ +([0-9a-f]+):\t(\S+)\s*(.*)$")
VECTOR = re.compile(r"\b[qdsv]\d+\b")
BRANCH_TARGET = re.compile(r"\b([0-9a-f]+) <")


@dataclass(frozen=True)
class Instruction:
    """One line of a disassembly."""

    address: int
    name: str
    operands: str

    @property
    def target(self) -> int | None:
        """Where it branches to, if it is a branch."""
        found = BRANCH_TARGET.search(self.operands)
        branches = self.name.startswith(("b.", "cb", "tb")) or self.name == "b"
        return int(found[1], 16) if branches and found else None

    @property
    def is_neon(self) -> bool:
        """Whether it has a vector register, which the address of a branch may look like."""
        return self.target is None and VECTOR.search(self.operands) is not None


def functions(disassembly: str) -> dict[str, list[Instruction]]:
    """The instructions of every function."""
    found: dict[str, list[Instruction]] = {}
    body: list[Instruction] = []
    for line in disassembly.splitlines():
        if start := FUNCTION.match(line):
            body = found.setdefault(start[1], [])
        elif row := INSTRUCTION.match(line):
            body.append(Instruction(int(row[1], 16), row[2], row[3].partition("//")[0]))
    return found


def count(body: list[Instruction]) -> float:
    """NEON instructions per 16 weights in the shortest loop that multiplies."""
    loops = []
    for last in body:
        first = last.target
        if first is not None and first <= last.address:
            loop = [step for step in body if first <= step.address <= last.address]
            if weights := sum(PRODUCTS.get(step.name, 0) for step in loop):
                loops.append((len(loop), weights, loop))
    assert loops, "no loop that multiplies"
    _, weights, loop = min(loops, key=lambda found: found[0])
    return 16 * sum(step.is_neon for step in loop) / weights


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """Instructions per 16 weights of every loop, by instruction set."""
    missing = [tool for tool in (COMPILER, OBJDUMP) if shutil.which(tool) is None]
    if missing and not IN_CI:
        pytest.skip(f"instruction counts NOT TESTED: no {', '.join(missing)} on this machine")
    assert not missing, f"{missing} must be installed in CI"
    found = {}
    for isa, name in FILES.items():
        source = CSRC / "kernels" / f"{name}.c"
        built = tmp_path_factory.mktemp("counts") / f"{name}.o"
        subprocess.run([COMPILER, *FLAGS, "-c", str(source), "-o", str(built)], check=True)
        command = [OBJDUMP, "-d", "--no-show-raw-insn", str(built)]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        bodies = functions(listing)
        found[isa] = {loop: count(bodies[f"multiply_{loop}"]) for loop in kernels.trellis_loops()}
    return found


def test_every_loop_is_stated() -> None:
    """A loop that is added to the kernels needs a row in the table."""
    assert tuple(kernels.LOOPS) == kernels.trellis_loops()


@pytest.mark.parametrize("isa", BUDGET)
def test_two_bits_stay_in_the_budget(counted: dict[str, dict[str, float]], isa: str) -> None:
    """Of two bits with 256 states and a table of 64, whatever the compiler's version."""
    assert counted[isa][BUDGET_LOOP] <= BUDGET[isa]


def test_stated_counts_are_those_of_the_disassembly(counted: dict[str, dict[str, float]]) -> None:
    """Exactly, with the compiler's version that the table names."""
    version = subprocess.run([COMPILER, "-dumpversion"], capture_output=True, text=True, check=True)
    if int(version.stdout.split(".")[0]) != kernels.COUNTED_WITH:
        pytest.skip(f"counts are stated for GCC {kernels.COUNTED_WITH}, this is {version.stdout}")
    rounded = {
        loop: tuple(round(counted[isa][loop], 1) for isa in BUDGET) for loop in kernels.LOOPS
    }
    assert {loop: (plain, dot) for loop, (_, plain, dot) in kernels.LOOPS.items()} == rounded


def test_counting_a_disassembly() -> None:
    """The inner of two loops, without branches, moves of addresses and comments."""
    listing = """
0000000000000000 <multiply_some>:
   0:\tldr\tq0, [x0]
   4:\tld1\t{v1.16b}, [x1], #16
   8:\tsdot\tv2.4s, v1.16b, v0.4b[0]
   c:\tadd\tx0, x0, #0x10  // v9
  10:\tsdot\tv3.4s, v1.16b, v0.4b[1]
  14:\tb.ne\t4 <multiply_some+0x4>  // b.any
  18:\tscvtf\tv2.4s, v2.4s
  1c:\tcbnz\tx2, 0 <multiply_some>
"""
    assert count(functions(listing)["multiply_some"]) == 1.5
