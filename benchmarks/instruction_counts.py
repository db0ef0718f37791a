"""How many instructions of each class a kernel executes: run in an emulator, block by block.

`edgecomp-run measure FILE --only NAME --tokens T --calls N` makes exactly N calls. qemu prints
every block of code that it executes (-d exec) and, once, which instructions a block has (-d
in_asm); what 2 calls execute beyond 1 is a call. objdump says what the instructions are.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from instruction_classes import listing

__all__ = [
    "TARGETS",
    "Count",
    "CountError",
    "Emulated",
    "Target",
    "build",
    "compiler_version",
    "executed",
]

CSRC = Path(__file__).parents[1] / "runtime_ops" / "csrc"
FLAGS = ("-std=c99", "-O3", "-pthread", "-ffp-contract=off", "-fvisibility=hidden", f"-I{CSRC}")
OPENED = re.compile(rb"Trace \d+: 0x[0-9a-f]+ \[[0-9a-f]+/([0-9a-f]+)/")
ADDRESS = re.compile(rb"0x([0-9a-f]+):")
SMALL = 0.02  # of a call's instructions: functions with less are one,
LEAST = 1e-3  # and classes with less are left out


class CountError(RuntimeError):
    """The emulator, the program or a tool did not do its part."""


@dataclass(frozen=True)
class Target:
    """A machine that programs are built for, and the emulated processor of an instruction set."""

    machine: str
    compiler: str
    objdump: tuple[str, ...]
    emulator: tuple[str, ...]


LIST = ("-d", "--no-show-raw-insn")
ARM_TOOLS = ("aarch64", "aarch64-linux-gnu-gcc", ("aarch64-linux-gnu-objdump", *LIST))
TARGETS = {
    "neon": Target(*ARM_TOOLS, ("qemu-aarch64-static", "-cpu", "cortex-a53")),
    "neon_dotprod": Target(*ARM_TOOLS, ("qemu-aarch64-static", "-cpu", "cortex-a76")),
    "neon_i8mm": Target(*ARM_TOOLS, ("qemu-aarch64-static", "-cpu", "max")),
    "avx2": Target(
        "x86_64",
        "gcc",
        ("objdump", *LIST, "-M", "intel"),
        ("qemu-x86_64-static", "-cpu", "Haswell"),
    ),
}


@dataclass(frozen=True)
class Count:
    """What a call executes."""

    numbers: int  # weights of the matrix, or numbers of the step
    classes: dict[str, dict[str, float]]  # by function: instructions of each class in a call

    def rounded(self) -> dict[str, dict[str, float]]:
        """For each number; functions that hardly matter are together, under `rest`."""
        total = sum(sum(counts.values()) for counts in self.classes.values())
        merged: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for function, counts in self.classes.items():
            small = sum(counts.values()) < SMALL * total
            merged["rest" if small else function].update(counts)
        return {
            function: {
                name: float(f"{count / self.numbers:.3g}")
                for name, count in sorted(counts.items())
                if count > LEAST * total
            }
            for function, counts in sorted(merged.items())
        }


def build(target: Target, folder: Path) -> Path:
    """The static `edgecomp-run` of a machine, with the symbols that objdump names functions by."""
    program = folder / f"edgecomp-run-{target.machine}"
    library = [path for path in CSRC.glob("*/*.c") if not path.name.endswith("_main.c")]
    sources = sorted([*library, *(CSRC / "programs" / "run").glob("*.c")])
    command = [target.compiler, *FLAGS, "-static", "-o", str(program), *map(str, sources), "-lm"]
    run(command)
    return program


class Emulated:
    """A program whose executed instructions are counted."""

    def __init__(self, target: Target, program: Path) -> None:
        self.target = target
        self.program = program
        text = run([*target.objdump, str(program)])
        self.listed = {row.address: row for row in listing(text, target.machine)}

    def count(self, container: Path, name: str, tokens: int) -> Count:
        """One call. CountError."""
        numbers, once = self.run(container, name, tokens, 1)
        _, twice = self.run(container, name, tokens, 2)
        classes: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for (function, kind), count in twice.items():
            if (more := count - once[function, kind]) > 0:
                classes[function][kind] = more
        if not classes:
            raise CountError(f"{name}: two calls execute no more than one")
        return Count(numbers, dict(classes))

    def run(
        self, container: Path, name: str, tokens: int, calls: int
    ) -> tuple[int, Counter[tuple[str, str]]]:
        """Numbers of a call, and the instructions of the whole program by function and class."""
        options = ["--only", name, "--tokens", str(tokens), "--calls", str(calls)]
        command = [*self.target.emulator, "-d", "exec,nochain,in_asm", str(self.program)]
        with subprocess.Popen(
            [*command, "measure", str(container), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            blocks, starts = executed(process.stderr)
            output = process.stdout.read()
        if process.returncode != 0:
            raise CountError(f"{name}: {self.target.emulator[0]} exits with {process.returncode}")
        row = json.loads(output)
        return int(row["weights"]), self.instructions(blocks, starts)

    def instructions(
        self, blocks: dict[int, list[int]], starts: Counter[int]
    ) -> Counter[tuple[str, str]]:
        """Instructions by function and class, of how often each block was executed."""
        found: Counter[tuple[str, str]] = Counter()
        for start, times in starts.items():
            for address in blocks.get(start, ()):
                row = self.listed.get(address)
                for kind in row.classes if row is not None else ():
                    assert row is not None
                    found[row.function, kind] += times
        return found


def executed(log: Iterable[bytes]) -> tuple[dict[int, list[int]], Counter[int]]:
    """Of qemu's log: the addresses of each block's instructions, and how often a block ran."""
    blocks: dict[int, list[int]] = {}
    starts: Counter[bytes] = Counter()
    block: list[int] = []
    for line in log:
        if line.startswith(b"Trace"):
            starts[line] += 1
        elif line.startswith(b"IN:"):
            block = []
        elif found := ADDRESS.match(line):
            address = int(found[1], 16)
            block.append(address)
            blocks[block[0]] = block
    counted: Counter[int] = Counter()
    for line, times in starts.items():
        if opened := OPENED.match(line):
            counted[int(opened[1], 16)] += times
    return blocks, counted


def run(command: list[str]) -> str:
    """Its standard output. CountError with what it says."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise CountError(f"{command[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise CountError(f"{command[0]}: {error.stderr.strip().splitlines()[-1:]}") from error
    return done.stdout


def compiler_version(target: Target) -> str:
    """Its major version, which the instructions depend on."""
    return run([target.compiler, "-dumpversion"]).split(".")[0].strip()
