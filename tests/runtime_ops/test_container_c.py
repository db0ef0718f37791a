"""The C reader: right statuses, no byte read beyond a file, and what Python reads: same files, same
weights."""

from __future__ import annotations

import functools
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings

from exporters.gguf import Container, ContainerError
from runtime_ops import native, reference
from tests.exporters.broken import GOLDEN, TRUNCATED
from tests.exporters.broken_files import BROKEN_FILES, truncations
from tests.exporters.mutations import fresh_mutants, mutants
from tests.runtime_ops import harness


@pytest.fixture(scope="module", params=harness.EVERY_TARGET)
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs the program built for a target."""
    return harness.command("container", request.param, tmp_path_factory.mktemp("reader"))


def results(reader: list[str], files: Iterable[bytes], folder: Path) -> list[tuple[int, bytes]]:
    """The status of each file, and its weights as bytes."""
    corpus, weights = folder / "corpus", folder / "weights"
    with open(corpus, "wb") as out:
        for file in files:
            out.write(struct.pack("<Q", len(file)) + file)
    command = [*reader, str(corpus), str(weights)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    found, decoded, at = [], weights.read_bytes(), 0
    for line in run.stdout.splitlines():
        status, n_weights = map(int, line.split())
        found.append((status, decoded[at : at + 4 * n_weights]))
        at += 4 * n_weights
    assert at == len(decoded)
    return found


def statuses(reader: list[str], files: Iterable[bytes], folder: Path) -> list[int]:
    """The status of each file."""
    return [status for status, _ in results(reader, files, folder)]


def weights_by_python(file: bytes) -> bytes | None:
    """The weights of all tensors, decoded by the reference; None when the file is refused.

    Whatever opening, decoding or verifying raises but ContainerError is a failure.
    """
    try:
        container = Container(file)
    except ContainerError:
        return None
    assert set(container.verify()) <= {tensor.name for tensor in container.tensors}
    decoded = [reference.decode(container.read(tensor.name)) for tensor in container.tensors]
    return b"".join(weights.tobytes() for weights in decoded)


def weights_by_bindings(file: bytes) -> bytes | None:
    """The same by the C library of this machine."""
    try:
        container = native.NativeContainer(file)
    except native.NativeError:
        return None
    return b"".join(container.decode(name).tobytes() for name in container.names)


@functools.cache
def mutants_and_weights() -> list[tuple[bytes, bytes | None]]:
    """The mutants, and what Python reads of each."""
    return [(file, weights_by_python(file)) for file in mutants()]


def test_broken_files_get_their_status(reader: list[str], tmp_path: Path) -> None:
    found = statuses(reader, [GOLDEN.read_bytes(), *(b.build() for b in BROKEN_FILES)], tmp_path)
    expected = {"golden": 0} | {broken.name: broken.status for broken in BROKEN_FILES}
    assert dict(zip(expected, found, strict=True)) == expected


def test_file_cut_off_anywhere_is_truncated(reader: list[str], tmp_path: Path) -> None:
    files = truncations()
    assert statuses(reader, files, tmp_path) == [TRUNCATED] * len(files)


@pytest.mark.slow
def test_readers_agree_on_ten_thousand_mutants(reader: list[str], tmp_path: Path) -> None:
    """On which to take, and byte for byte on the weights of those."""
    expected = mutants_and_weights()
    found = results(reader, (file for file, _ in expected), tmp_path)
    differing = [
        (i, status)
        for i, ((_, weights), (status, decoded)) in enumerate(zip(expected, found, strict=True))
        if (status == 0) != (weights is not None) or (weights is not None and decoded != weights)
    ]
    assert differing == []
    reached = [status for status, _ in found]
    assert len(reached) == 10_000
    assert set(reached) == set(range(7)), "the mutants must reach every kind of failure"
    assert 500 < reached.count(0) < 5000, "and leave enough files that are used"


@settings(max_examples=300, deadline=None)
@given(file=fresh_mutants())
def test_readers_agree_on_mutants_that_are_new_every_time(file: bytes) -> None:
    assert weights_by_bindings(file) == weights_by_python(file)


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
