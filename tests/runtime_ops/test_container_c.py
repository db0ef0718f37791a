"""The C reader: right statuses, no byte read beyond a file, and the same decisions as Python's."""

from __future__ import annotations

import functools
import os
import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from exporters.gguf import Container, ContainerError
from runtime_ops import native, reference
from tests.exporters.broken_files import BROKEN_FILES, GOLDEN, TRUNCATED, truncations
from tests.exporters.mutations import mutants

CSRC = Path(__file__).parents[2] / "runtime_ops" / "csrc"
FLAGS = ["-std=c99", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
SANITIZE = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
TARGETS = {
    "native": ("gcc", [], []),
    "sanitized": ("gcc", SANITIZE, []),
    "aarch64": ("aarch64-linux-gnu-gcc", ["-static"], ["qemu-aarch64-static"]),
    "armv7": ("arm-linux-gnueabihf-gcc", ["-static"], ["qemu-arm-static"]),  # size_t has 32 bits
}


@pytest.fixture(scope="module", params=TARGETS)
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs the harness built for a target; skips without tools, unless in CI."""
    compiler, flags, emulator = TARGETS[request.param]
    missing = [tool for tool in [compiler, *emulator] if shutil.which(tool) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"{request.param} reader NOT TESTED: no {', '.join(missing)} on this machine")
    assert not missing, f"{missing} must be installed in CI"
    program = tmp_path_factory.mktemp("harness") / f"container-{request.param}"
    sources = [str(p) for p in sorted(CSRC.glob("*.c")) if not p.name.endswith("_main.c")]
    sources.append(str(CSRC / "container_main.c"))
    subprocess.run([compiler, *FLAGS, *flags, *sources, "-o", str(program)], check=True)
    return [*emulator, str(program)]


def statuses(harness: list[str], files: Iterable[bytes], folder: Path) -> list[int]:
    """The status of each file."""
    corpus = folder / "corpus"
    with open(corpus, "wb") as out:
        for file in files:
            out.write(struct.pack("<Q", len(file)) + file)
    run = subprocess.run([*harness, str(corpus)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    return [int(line) for line in run.stdout.split()]


@functools.cache
def mutants_and_decisions() -> list[tuple[bytes, bool]]:
    """The mutants, and whether the Python reader takes each."""
    return [(file, python_accepts(file)) for file in mutants()]


def python_accepts(file: bytes) -> bool:
    """Whether the Python reader takes the file; anything but ContainerError is a failure."""
    try:
        Container(file)
    except ContainerError:
        return False
    return True


def test_broken_files_get_their_status(harness: list[str], tmp_path: Path) -> None:
    found = statuses(harness, [GOLDEN.read_bytes(), *(b.build() for b in BROKEN_FILES)], tmp_path)
    expected = {"golden": 0} | {broken.name: broken.status for broken in BROKEN_FILES}
    assert dict(zip(expected, found, strict=True)) == expected


def test_file_cut_off_anywhere_is_truncated(harness: list[str], tmp_path: Path) -> None:
    files = truncations()
    assert statuses(harness, files, tmp_path) == [TRUNCATED] * len(files)


def test_readers_agree_on_ten_thousand_mutants(harness: list[str], tmp_path: Path) -> None:
    mutants = mutants_and_decisions()
    found = statuses(harness, (file for file, _ in mutants), tmp_path)
    decisions = zip(mutants, found, strict=True)
    differing = [
        (i, status)
        for i, ((_, accepted), status) in enumerate(decisions)
        if accepted != (status == 0)
    ]
    assert differing == []
    assert len(found) == 10_000
    assert set(found) == set(range(7)), "the mutants must reach every kind of failure"
    assert 500 < found.count(0) < 5000, "and leave enough files that are used"


def test_bindings_read_what_python_reads() -> None:
    """Names, shapes, strings, and the weights that the reference decodes."""
    file = GOLDEN.read_bytes()
    ours, container = Container(file), native.NativeContainer(file)
    assert container.names == tuple(tensor.name for tensor in ours.tensors)
    assert container.string("edgecomp.settings") == ours.settings
    for key in ("edgecomp.format_version", "edgecomp.none", "zzz"):
        with pytest.raises(KeyError):
            container.string(key)
    for tensor in ours.tensors:
        assert container.shape(tensor.name) == tensor.shape
        decoded = container.decode(tensor.name)
        assert decoded.tobytes() == reference.decode(ours.read(tensor.name)).tobytes()
    with pytest.raises(native.NativeError, match="not a GGUF file"):
        native.NativeContainer(b"GGML" + file[4:])
