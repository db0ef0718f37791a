"""Group integers in a container: what comes back, digests, both readers."""

from __future__ import annotations

import hashlib
import struct

from exporters.gguf import Container
from runtime_ops import native, reference
from runtime_ops.formats import ColumnsFormat, UniformFormat
from tests.exporters.gguf_bytes import U32, take_apart, value
from tests.exporters.uniform_container import EIGHT, FOUR, TWO, uniform_file, uniform_tensors


def test_file_holds_the_formats_that_were_written() -> None:
    container = Container(uniform_file())
    assert container.verify() == []
    found = {entry.name: (entry.format, entry.shape) for entry in container.tensors}
    assert found == uniform_tensors()
    assert {key: container.metadata[f"edgecomp.format.0.{key}"] for key in ("bits", "group")} == {
        "bits": 4,
        "group": 64,
    }


def test_both_readers_decode_the_same_weights() -> None:
    ours, container = Container(uniform_file()), native.NativeContainer(uniform_file())
    for tensor in ours.tensors:
        expected = reference.decode(ours.read(tensor.name))
        assert expected.any()
        assert container.decode(tensor.name).tobytes() == expected.tobytes(), tensor.name


def test_digest_is_the_one_of_the_specification() -> None:
    """The layout of docs/format.md, "Digest", written out by hand."""
    records = {TWO: (6, 2, 32), FOUR: (6, 4, 64), EIGHT: (6, 8, 1 << 16)}
    container = Container(uniform_file())
    checked = 0
    for entry in container.tensors:
        if isinstance(entry.format, ColumnsFormat):
            continue
        assert isinstance(entry.format, UniformFormat)
        whole = b"edgecomp" + struct.pack("<3I", *records[entry.format])
        whole += struct.pack(f"<I{len(entry.shape)}Q", len(entry.shape), *entry.shape)
        whole += struct.pack("<f", entry.error_bound)
        for part in container.read(entry.name).parts.values():
            whole += part.tobytes()
        assert entry.sha256 == hashlib.sha256(whole).hexdigest(), entry.name
        checked += 1
    assert checked == 4


def test_other_parameters_are_found_by_the_digest() -> None:
    """Of a matrix as wide as one group: a wider group changes nothing else."""
    parts = take_apart(uniform_file())
    parts.pairs[b"edgecomp.format.3.group"] = value(U32, 1 << 15)
    assert Container(parts.build()).verify() == ["eight", "split"]
