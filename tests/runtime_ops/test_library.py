"""The shared library that make builds exports its interface and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.runtime_ops import harness

ROOT = Path(__file__).parents[2]
# What linkers add on their own.
OF_THE_LINKER = {"_init", "_fini", "__bss_start", "_edata", "_end"}


def declared() -> set[str]:
    """Names of the functions that edgecomp.h and runner.h declare."""
    text = "".join((harness.CSRC / name).read_text() for name in ("edgecomp.h", "runner.h"))
    return set(re.findall(r"^EC_API[^;{]*?\b(ec_\w+)\(", without_comments(text), flags=re.M))


def without_comments(header: str) -> str:
    return re.sub(r"/\*.*?\*/", "", header, flags=re.S)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_exactly_the_declared_functions_are_exported(compiler: str, tmp_path: Path) -> None:
    """A kernel or a reader's inner function that is visible could clash with a program's own."""
    if shutil.which(compiler) is None and not harness.IN_CI:
        pytest.skip(f"exports of {compiler} NOT TESTED: not on this machine")
    build = ["make", "-s", "-C", str(ROOT), "runtime", f"CC={compiler}", f"BUILD={tmp_path}"]
    subprocess.run(build, check=True)
    library = tmp_path / "libedgecomp.so"
    command = ["nm", "-D", "--defined-only", "--format=posix", str(library)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    exported = {line.split()[0] for line in listed.splitlines()} - OF_THE_LINKER
    assert exported == declared()
    assert "ec_container_open" in exported
