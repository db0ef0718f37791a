"""Builds the C test programs of runtime_ops/csrc for every machine that they are tested for."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime_ops import native

CSRC = Path(__file__).parents[2] / "runtime_ops" / "csrc"
BUILD = Path(__file__).parents[2] / "build" / "tests"
FLAGS = (
    *("-std=c99", "-O3", "-ffp-contract=off", f"-I{CSRC}"),
    *("-Wall", "-Wextra", "-Wpedantic", "-Werror"),
)
CALLS = ("-fcallgraph-info=su",)  # gcc then writes each file's frames and calls beside the object
SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
IN_CI = bool(os.environ.get("CI"))


@dataclass(frozen=True)
class Target:
    """A compiler, and how to run what it makes; `sets` are the instruction sets that then run."""

    compiler: str
    flags: tuple[str, ...] = ()
    emulator: tuple[str, ...] = ()  # with its arguments; none: this machine
    sets: frozenset[str] = frozenset()  # None named: those of this machine


TARGETS = {
    "native": Target("gcc"),
    "sanitized": Target("gcc", SANITIZE),
    "clang": Target("clang"),
    "aarch64": Target(
        *("aarch64-linux-gnu-gcc", ("-static",), ("qemu-aarch64-static", "-cpu", "max")),
        frozenset({"scalar", "neon", "neon_dotprod", "neon_i8mm"}),
    ),
    "aarch64-dotprod": Target(  # a Raspberry Pi 5's: no i8mm
        *("aarch64-linux-gnu-gcc", ("-static",), ("qemu-aarch64-static", "-cpu", "cortex-a76")),
        frozenset({"scalar", "neon", "neon_dotprod"}),
    ),
    "aarch64-plain": Target(  # the same program on a core without later instructions
        *("aarch64-linux-gnu-gcc", ("-static",), ("qemu-aarch64-static", "-cpu", "cortex-a53")),
        frozenset({"scalar", "neon"}),
    ),
    "armv7": Target(  # size_t has 32 bits
        "arm-linux-gnueabihf-gcc",
        ("-static",),
        ("qemu-arm-static",),
        frozenset({"scalar", "neon_armv7"}),
    ),
}
# As parameters of a test: other compilers and machines than this one's take their time.
EVERY_TARGET = [
    pytest.param(name, marks=[] if name == "native" else pytest.mark.slow) for name in TARGETS
]
# Sets that a machine must have to run CI, so that none goes untested there.
NATIVE_SETS = {"x86_64": {"scalar", "avx2"}, "aarch64": {"scalar", "neon"}}
# Sets that are tested on machines that have them: not every one that CI runs on does.
OCCASIONAL_SETS = {"avx512"}
REQUIRED = NATIVE_SETS.get(platform.machine(), {"scalar"})


def expected_sets(target: str) -> set[str]:
    """The instruction sets that a program built for the target must have run."""
    named = TARGETS[target].sets
    if named:
        return set(named)
    return {*native.instruction_sets(), *(REQUIRED if IN_CI else ())}


def tested_sets() -> set[str]:
    """The instruction sets that some target runs, on one machine or another that CI runs on."""
    named = (target.sets for target in TARGETS.values())
    return set().union(*NATIVE_SETS.values(), OCCASIONAL_SETS, *named)


def command(program: str, target: str, folder: Path) -> list[str]:
    """The command that runs csrc/programs/<program>_main.c, built for the target in `folder`.

    Skips the test when a tool is missing, but fails in CI, where all must be installed.
    """
    chosen = TARGETS[target]
    missing = [
        tool for tool in [chosen.compiler, *chosen.emulator[:1]] if shutil.which(tool) is None
    ]
    if missing and not IN_CI:
        pytest.skip(f"{program} for {target} NOT TESTED: no {', '.join(missing)} on this machine")
    assert not missing, f"{missing} must be installed in CI"
    path = folder / f"{program}-{target}"
    files = [str(CSRC / "programs" / f"{program}_main.c"), str(library(target))]
    build = [chosen.compiler, *FLAGS, *chosen.flags, *files, "-pthread", "-lm", "-o", str(path)]
    subprocess.run(build, check=True)
    return [*chosen.emulator, str(path)]


def is_clang(compiler: str) -> bool:
    """Whether it is clang by whatever name, as `gcc` is on macOS."""
    macros = [compiler, "-dM", "-E", "-x", "c", "/dev/null"]
    return "__clang__" in subprocess.run(macros, check=True, capture_output=True, text=True).stdout


def library(target: str) -> Path:
    """The runtime as a static library for the target; compiled once for each state of its sources.

    Its objects stay beside it, as <folder>_<source>.o, and gcc's .ci files.
    Tests may ask for it at the same time: each builds its own, and the first one's stays.
    """
    chosen = TARGETS[target]
    sources = [path for path in sorted(CSRC.glob("*/*.c")) if not path.name.endswith("_main.c")]
    calls = () if is_clang(chosen.compiler) else CALLS
    flags = [chosen.compiler, *FLAGS, *calls, *chosen.flags]
    state = hashlib.sha256("\0".join(flags).encode())
    for path in sorted(CSRC.rglob("*.*")):
        state.update(f"{path.name}\0".encode() + path.read_bytes())
    built = BUILD / f"{chosen.compiler}-{state.hexdigest()[:16]}" / "libedgecomp.a"
    if built.exists():
        return built
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        folder = Path(name) / "library"
        folder.mkdir()
        objects = [folder / f"{path.parent.name}_{path.stem}.o" for path in sources]
        for source, out in zip(sources, objects, strict=True):
            subprocess.run([*flags, "-c", str(source), "-o", str(out)], check=True)
        archiver = chosen.compiler.removesuffix("gcc") + "ar" if chosen.emulator else "ar"
        archive = [archiver, "rcs", str(folder / built.name), *map(str, objects)]
        subprocess.run(archive, check=True)
        with contextlib.suppress(OSError):  # another test was faster
            folder.rename(built.parent)
    return built
