"""Where the program for a device is taken from, and that it is built as `make static` does."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from edgecomp.measuring import build_program, program
from edgecomp.measuring.address import open_target
from edgecomp.measuring.architecture import TARGETS, elf_target, targets_for
from edgecomp.measuring.build_program import CSRC, compile_flags, link_flags, source_hash, sources
from edgecomp.measuring.errors import AddressError, MeasureError
from edgecomp.measuring.local import LocalTarget
from edgecomp.measuring.program import find_program, given_program

ROOT = CSRC.parents[1]
Notes = list[str]


def elf(machine: int) -> bytes:
    """The beginning of a program for a machine."""
    return b"\x7fELF" + bytes(14) + struct.pack("<H", machine) + bytes(100)


def make_commands(target: str) -> list[list[str]]:
    """The compiler's and linker's commands of `make static`, not run."""
    command = ["make", "-n", "-B", f"build/static/{target}/edgecomp-run", "ZIG=zig"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    words = [shlex.split(line) for line in done.stdout.replace("\\\n", " ").splitlines()]
    return [line for line in words if line[:2] == ["zig", "cc"]]


@pytest.mark.parametrize("target", TARGETS)
def test_flags_are_those_of_the_makefile(target: str) -> None:
    if shutil.which("make") is None and not os.environ.get("CI"):
        pytest.skip("flags of edgecomp measure NOT COMPARED with the Makefile: no make")
    lines = make_commands(target)
    compiled = [line for line in lines if "-c" in line]
    (linked,) = [line for line in lines if "-c" not in line]
    for line in compiled:
        assert line[2:4] == ["-target", target]
        flags = [word for word in line[4 : line.index("-c")] if not word.startswith("-I")]
        assert flags == list(compile_flags(target))
    assert {ROOT / line[-1] for line in compiled} == set(sources())
    flags = [word for word in linked[4:] if word.startswith("-") and word not in ("-o", "-lm")]
    assert {*flags} - {*compile_flags(target)} == {*link_flags(target)} - {*compile_flags(target)}


def test_hash_follows_sources_and_target(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int a;")
    first = source_hash("aarch64-linux-musl", tmp_path)
    assert len(first) == 16
    assert source_hash("aarch64-linux-musl", tmp_path) == first
    assert source_hash("arm-linux-musleabihf", tmp_path) != first
    (tmp_path / "a.c").write_text("int b;")
    assert source_hash("aarch64-linux-musl", tmp_path) != first


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources of a package without a checkout, and a cache of its own."""
    csrc = tmp_path / "package" / "runtime_ops" / "csrc"
    main = csrc / "programs" / "run" / "main.c"
    main.parent.mkdir(parents=True)
    main.write_text('#include <stdio.h>\nint main(void) { return puts("hello") < 0; }\n')
    (csrc / "kernels").mkdir()
    for module in (program, build_program):
        monkeypatch.setattr(module, "CSRC", csrc)
    monkeypatch.setattr(program, "source_hash", lambda target: source_hash(target, csrc))
    monkeypatch.setattr(build_program, "sources", lambda: sources(csrc))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return csrc


def test_a_checkouts_program_is_taken_while_it_is_fresh(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = elsewhere.parents[1] / "build" / "static" / "x86_64-linux-musl" / "edgecomp-run"
    built.parent.mkdir(parents=True)
    built.write_bytes(elf(62))
    notes: Notes = []
    assert find_program("x86_64-linux-musl", notes.append) == built
    os.utime(built, (0, 0))  # older than the sources
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MeasureError, match="no compiler to build it") as caught:
        find_program("x86_64-linux-musl", notes.append)
    assert "pip install 'edgecomp[static]'" in caught.value.hint
    assert notes == []


@pytest.mark.slow
def test_it_is_built_once(elsewhere: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("ziglang") is None and not os.environ.get("CI"):
        pytest.skip("building edgecomp-run for a device NOT TESTED: no ziglang")
    notes: Notes = []
    made = find_program("aarch64-linux-musl", notes.append)
    assert made.is_relative_to(tmp_path / "cache" / "edgecomp")
    assert elf_target(made) == "aarch64-linux-musl"
    assert os.access(made, os.X_OK)
    assert len(notes) == 1
    assert "building edgecomp-run for aarch64-linux-musl" in notes[0]
    assert find_program("aarch64-linux-musl", notes.append) == made
    assert len(notes) == 1
    assert os.listdir(made.parent) == ["edgecomp-run"]
    (elsewhere / "kernels" / "broken.c").write_text("int x = ;\n")
    with pytest.raises(MeasureError, match=r"does not build: .*broken.c"):
        find_program("aarch64-linux-musl", notes.append)
    assert [path.name for path in (tmp_path / "cache").rglob(".build-*")] == []


def test_a_given_program(tmp_path: Path) -> None:
    path = tmp_path / "edgecomp-run"
    path.write_bytes(elf(183))
    targets = targets_for("pi", "Linux", "aarch64")
    assert given_program(path, targets, "pi") == path
    with pytest.raises(MeasureError, match="is for aarch64-linux-musl, pc runs x86_64"):
        given_program(path, targets_for("pc", "Linux", "x86_64"), "pc")
    with pytest.raises(MeasureError, match="no such file"):
        given_program(tmp_path / "none", targets, "pi")
    for content, words in ((b"#!/bin/sh\n", "no program for Linux"), (elf(8), "not supported")):
        path.write_bytes(content)
        with pytest.raises(MeasureError, match=words):
            given_program(path, targets, "pi")


def test_this_interpreter_is_a_program() -> None:
    machine = os.uname().machine
    assert elf_target(Path(sys.executable).resolve()) in targets_for("here", "Linux", machine)


@pytest.mark.parametrize(
    ("machine", "targets"),
    [
        ("aarch64", ("aarch64-linux-musl", "arm-linux-musleabihf")),
        ("armv8l", ("arm-linux-musleabihf",)),
        ("armv7l", ("arm-linux-musleabihf",)),
        ("x86_64", ("x86_64-linux-musl",)),
    ],
)
def test_machines(machine: str, targets: tuple[str, ...]) -> None:
    assert targets_for("x", "Linux", machine) == targets


@pytest.mark.parametrize("on", ["", "foo", "ssh", "local:x", "adb:", "ssh:", "usb:1"])
def test_ways_that_are_none(on: str) -> None:
    with pytest.raises(AddressError), open_target(on):
        pass


def test_local() -> None:
    with open_target("local") as target:
        assert target == LocalTarget()
        assert target.push_command(Path("x"), "y") is None
        assert "ended" in str(target.explain(["Terminated"]))
