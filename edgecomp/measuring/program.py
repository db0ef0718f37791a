"""Where the static program for a device is: given, built in the checkout, kept, or built now."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from edgecomp.measuring.architecture import elf_target
from edgecomp.measuring.build_program import CSRC, build, source_hash
from edgecomp.measuring.errors import MeasureError

__all__ = ["find_program", "given_program"]

NAME = "edgecomp-run"


def given_program(path: Path, targets: tuple[str, ...], device: str) -> Path:
    """The path that the user gave, if it is for the device. MeasureError, OSError."""
    target = elf_target(path)
    if target not in targets:
        raise MeasureError(
            f"{path} is for {target}, {device} runs {' or '.join(targets)}",
            "leave --program out, or name the device's own",
        )
    return path


def find_program(target: str, note: Callable[[str], None]) -> Path:
    """The program for a target; built when it is nowhere. MeasureError, OSError."""
    built = CSRC.parents[1] / "build" / "static" / target / NAME
    if is_fresh(built):
        return built
    kept = cache_folder() / f"{version('edgecomp')}-{source_hash(target)}" / target / NAME
    if not kept.is_file():
        build(target, kept, note)
    return kept


def is_fresh(program: Path) -> bool:
    """Whether a file is there and younger than every source."""
    if not program.is_file():
        return False
    made = program.stat().st_mtime_ns
    return all(path.stat().st_mtime_ns <= made for path in CSRC.rglob("*") if path.is_file())


def cache_folder() -> Path:
    """The user's folder for what can be made again."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if Path(base).is_absolute() else Path.home() / ".cache") / "edgecomp"
