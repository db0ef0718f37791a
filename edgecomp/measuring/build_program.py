"""Builds the static edgecomp-run from the C sources that come with runtime_ops, by zig's compiler.

The Makefile's target `static` builds the same with the same flags; a test compares them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from edgecomp.measuring.errors import MeasureError

__all__ = ["CSRC", "build", "compile_flags", "link_flags", "source_hash", "sources"]

CSRC = Path(__file__).parents[2] / "runtime_ops" / "csrc"
# No contraction to fused multiply-add; without the last two zig compiles checks and aborts in.
COMPILE = (
    "-std=c99", "-O3", "-pthread", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden",
    "-Wall", "-Wextra", "-DNDEBUG", "-fno-sanitize=undefined",
)  # fmt: skip
LINK = ("-static", "-s", "-Wl,-z,max-page-size=16384")  # Android 15 wants pages of 16 KiB
CORES = {"arm-linux-musleabihf": ("-mcpu=generic+v7a+neon",)}
BUILD_SECONDS = 1800


def compile_flags(target: str) -> tuple[str, ...]:
    """What the compiler is told for a target, beside -target and -I."""
    return (*COMPILE, *CORES.get(target, ()))


def link_flags(target: str) -> tuple[str, ...]:
    """What it is told more when it links."""
    return (*LINK, *CORES.get(target, ()))


def sources(folder: Path = CSRC) -> list[Path]:
    """C files of the program and of the runtime, without other programs."""
    own = (folder / "programs" / "run").glob("*.c")
    runtime = (path for path in folder.glob("*/*.c") if not path.name.endswith("_main.c"))
    return sorted([*own, *runtime])


def source_hash(target: str, folder: Path = CSRC) -> str:
    """16 hexadecimal digits: the same for the same sources and flags."""
    digest = hashlib.sha256(repr((compile_flags(target), link_flags(target))).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def build(target: str, out: Path, note: Callable[[str], None]) -> None:
    """Writes the program for a target, whole or not at all. MeasureError, OSError."""
    if importlib.util.find_spec("ziglang") is None:
        raise MeasureError(
            f"there is no edgecomp-run for {target} here, and no compiler to build it",
            "pip install 'edgecomp[static]', or --program PATH names one that is built",
        )
    note(f"building edgecomp-run for {target}; it takes some minutes, once")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=out.parent) as folder:
        made = Path(folder) / out.name
        command = [
            *(sys.executable, "-m", "ziglang", "cc", "-target", target),
            *(*compile_flags(target), f"-I{CSRC}", *map(str, sources()), *link_flags(target)),
            *("-o", str(made), "-lm"),
        ]
        environment = {**os.environ, "ZIG_LOCAL_CACHE_DIR": str(Path(folder) / "zig")}
        try:
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", check=False, timeout=BUILD_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            hint = "is the computer busy? or --program PATH names one that is built"
            raise MeasureError(f"building takes longer than {BUILD_SECONDS} s", hint) from None
        if done.returncode != 0 or not made.is_file():
            said = [line for line in done.stderr.splitlines() if "error" in line]
            raise MeasureError(
                f"edgecomp-run for {target} does not build: {said[0] if said else 'zig failed'}",
                "is the disk full? or --program PATH names one that is built",
            )
        os.replace(made, out)
