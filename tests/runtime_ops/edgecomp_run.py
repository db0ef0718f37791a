"""The program edgecomp-run, built for a test."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime_ops.harness import CSRC, FLAGS, IN_CI, TARGETS, library

__all__ = ["ROOT", "STATIC", "Ran", "build", "build_static", "run"]

ROOT = CSRC.parents[1]
# What `make static` builds, and how it runs here.
STATIC = {
    "x86_64-linux-musl": [],
    "aarch64-linux-musl": ["qemu-aarch64-static"],
    "arm-linux-musleabihf": ["qemu-arm-static"],
}

Ran = subprocess.CompletedProcess[bytes]


def build(target: str, folder: Path) -> list[str]:
    """The command that runs the program, built for one of harness.TARGETS; it links the library."""
    chosen = TARGETS[target]
    path = folder / f"edgecomp-run-{target}"
    sources = sorted(map(str, (CSRC / "programs" / "run").glob("*.c")))
    flags = [chosen.compiler, *FLAGS, *chosen.flags]
    libraries = [str(library(target)), "-pthread", "-lm"]
    subprocess.run([*flags, *sources, *libraries, "-o", str(path)], check=True)
    return [*chosen.emulator, str(path)]


def build_static(target: str) -> list[str]:
    """The command that runs what `make static` builds; skips without its tools, but not in CI."""
    tools = ["make", *STATIC[target]]
    missing = [tool for tool in tools if shutil.which(tool) is None]
    missing += [] if importlib.util.find_spec("ziglang") else ["ziglang"]
    if missing and not IN_CI:
        pytest.skip(f"edgecomp-run for {target} NOT TESTED: no {', '.join(missing)}")
    assert not missing, f"{missing} must be installed in CI"
    path = f"build/static/{target}/edgecomp-run"
    make = ["make", "-s", "-j2", path, f"ZIG={sys.executable} -m ziglang"]
    subprocess.run(make, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return [*STATIC[target], str(ROOT / path)]


def run(program: list[str], *words: object, stdin: bytes = b"") -> Ran:
    """What the program did with these words; a signal that ended it fails the test."""
    command = [*program, *map(str, words)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert done.returncode in (0, 1, 2), (command, done.returncode, done.stderr[-4000:])
    return done
