"""A container written and read: golden bytes, an independent reader, digests, and saving."""

from __future__ import annotations

import errno
import os
import stat
import struct
import weakref
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from exporters.bundle import MetadataValue, ModelBundle, TensorSource
from exporters.gguf import Container, ContainerError, open_container, write_container
from exporters.gguf.spec import FILE_KEYS
from runtime_ops.formats import EncodedTensor, RawFormat
from tests.exporters.broken import GOLDEN
from tests.exporters.gguf_bytes import take_apart
from tests.exporters.small_container import FITTING_NAME, LONG_NAME, small_bundle

WRITER = "edgecomp golden"
LATTICES = ["layers.0.weight", "layers.10.weight", FITTING_NAME, "trellis.e"]


def written(bundle: ModelBundle, folder: Path) -> bytes:
    """The file of a bundle."""
    path = folder / "written.gguf"
    write_container(bundle, path, writer=WRITER)
    return path.read_bytes()


def as_bundle(container: Container) -> ModelBundle:
    """What a container was written from."""
    sources = [TensorSource(t.name, lambda n=t.name: container.read(n)) for t in container.tensors]
    return ModelBundle(
        container.name, tuple(sources), container.settings, container.model, container.tokenizer
    )


def raw(values: list[float], error_bound: float = 0.0) -> EncodedTensor:
    """A float32 tensor as it is."""
    part = np.array(values, "<f4")
    return EncodedTensor(RawFormat("f32"), part.shape, {"raw": part}, error_bound)


def one_tensor(**fields: Any) -> ModelBundle:
    """A bundle of one small tensor, with some fields changed."""
    bundle = ModelBundle("one", (TensorSource("w", lambda: raw([1.0, 2.0])),), "{}")
    return replace(bundle, **fields)


def test_golden_container_is_written_byte_for_byte(tmp_path: Path) -> None:
    """To make it anew: write small_bundle() with that writer to tests/golden/container_v1.gguf."""
    assert written(small_bundle(), tmp_path) == GOLDEN.read_bytes()


def test_order_of_tensors_and_keys_does_not_matter(tmp_path: Path) -> None:
    bundle = small_bundle()
    shuffled = replace(
        bundle,
        tensors=bundle.tensors[::-1],
        model=dict(reversed(bundle.model.items())),
        tokenizer=dict(reversed(bundle.tokenizer.items())),
    )
    assert written(shuffled, tmp_path) == GOLDEN.read_bytes()


def test_reading_and_writing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    with open_container(GOLDEN) as container:
        assert written(as_bundle(container), tmp_path) == GOLDEN.read_bytes()


def test_reader_returns_what_was_written() -> None:
    bundle = small_bundle()
    with open_container(GOLDEN) as container:
        assert (container.name, container.writer) == (bundle.name, WRITER)
        assert container.settings == bundle.settings
        assert container.model == bundle.model
        assert container.tokenizer == bundle.tokenizer
        assert container.file_bytes == GOLDEN.stat().st_size
        names = sorted((source.name for source in bundle.tensors), key=str.encode)
        assert [entry.name for entry in container.tensors] == names
        entries = {entry.name: entry for entry in container.tensors}
        for source in bundle.tensors:
            tensor, entry, found = source.load(), entries[source.name], container.read(source.name)
            assert found.format == entry.format == tensor.format
            assert found.shape == entry.shape == tensor.shape
            assert entry.n_bytes == tensor.n_bytes
            assert entry.n_weights == tensor.n_weights
            assert found.error_bound == entry.error_bound
            assert {k: v.tobytes() for k, v in found.parts.items()} == {
                k: v.tobytes() for k, v in tensor.parts.items()
            }


def test_error_bound_is_rounded_up_to_float32(tmp_path: Path) -> None:
    given = (1 / 3, 0.1, 0.25, 0.7, 1e-300)
    sources = tuple(
        TensorSource(f"w{i}", lambda bound=bound: raw([1.0], bound))
        for i, bound in enumerate(given)
    )
    tensors = Container(written(one_tensor(tensors=sources), tmp_path)).tensors
    for before, entry in zip(given, tensors, strict=True):
        below = np.nextafter(np.float32(entry.error_bound), np.float32(0))
        assert float(below) < before <= entry.error_bound
    assert tensors[2].error_bound == 0.25


def test_parts_are_not_copied_and_cannot_be_written_to() -> None:
    with open_container(GOLDEN) as container:
        codes = container.read(LONG_NAME).parts["codes"]
        assert not codes.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            codes[0] = 1
    assert codes[0] == small_bundle().tensors[2].load().parts["codes"][0]  # closed, still there


def test_ggufs_own_reader_sees_the_same_file() -> None:
    reader = gguf.GGUFReader(GOLDEN)
    parts = take_apart(GOLDEN.read_bytes())
    keys = [key for key in reader.fields if not key.startswith("GGUF.")]
    assert keys == [key.decode() for key in parts.pairs]
    assert set(FILE_KEYS) <= set(keys)
    with open_container(GOLDEN) as container:
        assert {key: reader.fields[key].contents() for key in keys} == container.metadata
        found = {tensor.name: tensor for tensor in reader.tensors}
        assert len(found) == len(parts.infos) == 62
        for i, entry in enumerate(container.tensors):
            for part, array in container.read(entry.name).parts.items():
                name = f"{entry.name}.{part}"
                name = name if len(name.encode()) < 64 else f"#{i}.{part}"
                assert found[name].data.tobytes() == array.tobytes()
    assert found["table.1"].data.dtype == np.int16
    assert found["norm.weight.raw"].tensor_type == gguf.GGMLQuantizationType.F16


VALUES: dict[str, tuple[MetadataValue, int | tuple[int, int]]] = {
    "u32": ((1 << 32) - 1, 4),
    "i32": (-(1 << 31), 5),
    "i64": (1 << 32, 11),
    "i64 below": (-(1 << 31) - 1, 11),
    "u64": ((1 << 64) - 1, 10),
    "f32": (0.5, 6),
    "f64": (0.1, 12),
    "f64 too large for f32": (1e300, 12),
    "bool": (False, 7),
    "string": ("ä\n", 8),
    "empty string": ("", 8),
    "array of i32": ([-1, 2], (9, 5)),
    "array of i64": ([-1, 1 << 31], (9, 11)),
    "array of f32": ([0.5, -0.0], (9, 6)),
    "array of f64": ([0.5, 0.1], (9, 12)),
    "array of bool": ([True, False], (9, 7)),
    "array of strings": (["", "b"], (9, 8)),
}


@pytest.mark.parametrize("case", VALUES)
def test_metadata_keeps_its_value_in_the_type_of_the_rule(case: str, tmp_path: Path) -> None:
    given, expected = VALUES[case]
    file = written(one_tensor(model={"key": given}), tmp_path)
    raw_value = take_apart(file).pairs[b"edgecomp.model.key"]
    types = (expected,) if isinstance(expected, int) else expected
    assert struct.unpack_from(f"<{len(types)}I", raw_value) == types
    read = Container(file).model["key"]
    assert (read, type(read)) == (given, type(given))


BAD_BUNDLES = {
    "no tensors": ({"tensors": ()}, "0 tensors"),
    "tensor twice": ({"tensors": (TensorSource("w", lambda: raw([1.0])),) * 2}, "given twice"),
    "empty name": ({"tensors": (TensorSource("", lambda: raw([1.0])),)}, "0 bytes"),
    "substitute name": ({"tensors": (TensorSource("#0", lambda: raw([1.0])),)}, "starts with '#'"),
    "surrogate": ({"tensors": (TensorSource("\ud800", lambda: raw([1.0])),)}, "not valid Unicode"),
    "error bound": ({"tensors": (TensorSource("w", lambda: raw([1.0], 1e39)),)}, "bound 1e+39"),
    "settings": ({"settings": "{"}, "expected JSON"),
    "name": ({"name": "\udc00"}, "general.name: text is not valid"),
    "key": ({"model": {"a b": 1}}, "printable ASCII"),
    "empty key": ({"model": {"": 1}}, "printable ASCII"),
    "long key": ({"model": {"k" * 255: 1}}, "printable ASCII"),
    "tokenizer key": ({"tokenizer": {"edgecomp.writer": "x"}}, "expected to start with"),
    "empty array": ({"model": {"k": []}}, "0 elements"),
    "mixed array": ({"model": {"k": [1, 2.0]}}, "float and int"),
    "truth among numbers": ({"model": {"k": [1, True]}}, "bool and int"),
    "nested array": ({"model": {"k": [[1]]}}, "list, expected one of"),
    "none": ({"model": {"k": None}}, "NoneType"),
    "large number": ({"model": {"k": 1 << 64}}, "no GGUF type"),
    "large number in an array": ({"model": {"k": [1 << 63]}}, "no GGUF type"),
    "not a number": ({"model": {"k": float("nan")}}, "not finite"),
    "surrogate in text": ({"model": {"k": ["\ud800"]}}, "not valid Unicode"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_BUNDLES)
def test_bundle_that_cannot_be_written_is_refused(case: str, tmp_path: Path) -> None:
    fields, message = BAD_BUNDLES[case]
    with pytest.raises(ContainerError) as caught:
        write_container(one_tensor(**fields), tmp_path / "out.gguf")
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_every_flipped_byte_of_a_tensor_is_found_by_its_digest() -> None:
    """Of its data and of everything that says how to decode it; or the file is refused outright."""
    parts = take_apart(GOLDEN.read_bytes())
    sound = Container(GOLDEN.read_bytes())
    assert sound.verify() == []
    n_found = 0
    for info in parts.infos:
        n_bytes = info.dims[0] * {0: 4, 1: 2, 24: 1, 25: 2}[info.type]
        for at in range(info.offset, info.offset + n_bytes):
            flipped = bytearray(parts.data)
            flipped[at] ^= 1
            file = replace(parts, data=bytes(flipped)).build()
            try:
                found = Container(file).verify()
            except ContainerError:
                continue
            assert found, f"byte {at} of the data"
            n_found += 1
    assert n_found > 100


@pytest.mark.parametrize(
    ("key", "at", "damaged"),
    [
        ("edgecomp.format.0.generator", 16, LATTICES),
        ("edgecomp.format.0.shift", 16, LATTICES),
        ("edgecomp.format.1.shift", 28, ["layers.1.weight", "split.a"]),
        ("edgecomp.format.0.offset", 4, LATTICES),
        ("edgecomp.format.2.levels", 4, [LONG_NAME]),
        ("edgecomp.format.5.shifts", 16, ["shared.a"]),
        ("edgecomp.format.6.shifts", 20, ["shared.b", FITTING_NAME]),
        ("edgecomp.format.11.fold", 4, ["trellis.a", "trellis.e"]),
        ("edgecomp.format.12.multipliers", 17, ["trellis.b", "trellis.d"]),
        ("edgecomp.format.12.seed", 4, ["trellis.b", "trellis.d"]),
        ("edgecomp.format.13.multipliers", 21, ["trellis.c", "trellis.d"]),
        ("edgecomp.tensor.error_bounds", 16 + 4, ["layers.1.weight"]),
    ],
)
def test_changed_parameter_is_found_by_the_digest(key: str, at: int, damaged: list[str]) -> None:
    parts = take_apart(GOLDEN.read_bytes())
    value = bytearray(parts.pairs[key.encode()])
    value[at] ^= 1
    parts.pairs[key.encode()] = bytes(value)
    assert Container(parts.build()).verify() == damaged


def test_swapped_sides_are_found_by_the_digest() -> None:
    parts = take_apart(GOLDEN.read_bytes())
    key = b"edgecomp.tensor.dims"
    dims = parts.pairs[key]
    parts.pairs[key] = dims[:16] + dims[24:32] + dims[16:24] + dims[32:]  # (2, 3, 5): (3, 2, 5)
    assert Container(parts.build()).verify() == ["layers.0.weight"]


def test_progress_ends_at_the_size_of_the_data(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    summary = write_container(
        small_bundle(), tmp_path / "out.gguf", lambda done, total: calls.append((done, total))
    )
    data_bytes = summary.file_bytes - summary.header_bytes
    assert calls[-1] == (data_bytes, data_bytes)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert summary.file_bytes == (tmp_path / "out.gguf").stat().st_size
    assert (summary.n_tensors, summary.n_weights) == (16, 361)


def test_each_tensor_is_loaded_twice_and_one_at_a_time(tmp_path: Path) -> None:
    alive: list[Any] = []
    loads: list[str] = []

    def source(name: str) -> TensorSource:
        def load() -> EncodedTensor:
            assert all(ref() is None for ref in alive), "an earlier tensor is still held"
            tensor = raw([1.0] * 100)
            loads.append(name)
            alive.append(weakref.ref(tensor.parts["raw"]))
            return tensor

        return TensorSource(name, load)

    write_container(one_tensor(tensors=(source("b"), source("a"))), tmp_path / "out.gguf")
    assert loads == ["a", "b", "a", "b"]


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4])
def test_failed_save_leaves_the_old_file_and_nothing_else(fails_at: int, tmp_path: Path) -> None:
    """Whether it fails in the first pass over two tensors or in the second."""
    path = tmp_path / "out.gguf"
    path.write_bytes(b"old")
    count = 0

    def load() -> EncodedTensor:
        nonlocal count
        count += 1
        if count == fails_at:
            raise KeyboardInterrupt
        return raw([1.0])

    sources = (TensorSource("a", load), TensorSource("b", load))
    with pytest.raises(KeyboardInterrupt):
        write_container(one_tensor(tensors=sources), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.gguf"]


def test_tensor_that_changes_between_loads_is_refused(tmp_path: Path) -> None:
    values = iter([1.0, 2.0])
    source = TensorSource("w", lambda: raw([next(values)]))
    with pytest.raises(ContainerError, match="differs when loaded again"):
        write_container(one_tensor(tensors=(source,)), tmp_path / "out.gguf")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_on_the_disk_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the file's data, then its new name: else a power loss may leave an empty file."""
    events: list[str] = []
    fsync, rename = os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def recorded_replace(source: Path, target: Path) -> None:
        events.append("replace")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    write_container(one_tensor(), tmp_path / "out.gguf")
    assert events == ["file", "replace", "folder"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EINVAL, errno.EIO])
def test_folder_that_cannot_be_synchronised(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is there; a failing disk is an error, a system that cannot do it is none."""
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, "no")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    path = tmp_path / "out.gguf"
    with pytest.raises(OSError, match="no") if code == errno.EIO else nullcontext():
        write_container(one_tensor(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["out.gguf"]
    open_container(path).close()


def test_full_disk_is_an_os_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_container(one_tensor(), tmp_path / "out.gguf")
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_output_that_cannot_be_replaced_is_refused_before_any_work(tmp_path: Path) -> None:
    def load() -> EncodedTensor:
        raise AssertionError("loaded")

    bundle = one_tensor(tensors=(TensorSource("w", load),))
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (folder, Path("/dev/full"), tmp_path / "missing" / "out.gguf"):
        with pytest.raises(OSError, match=r"regular file|No such file"):
            write_container(bundle, path)
    assert list(folder.iterdir()) == []


def test_file_behind_a_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "out.gguf"
    target.write_bytes(b"old")
    link = tmp_path / "link.gguf"
    link.symlink_to(target)
    write_container(one_tensor(), link)
    assert link.is_symlink()
    with open_container(target) as container:
        assert container.name == "one"


def test_paths_that_are_no_files_are_os_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in (
        (tmp_path / "missing", FileNotFoundError),
        (tmp_path, OSError),
        (tmp_path / "pipe", OSError),
    ):
        with pytest.raises(kind):
            open_container(path)
    (tmp_path / "empty").touch()
    with pytest.raises(ContainerError, match="0 bytes"):
        open_container(tmp_path / "empty")


def test_unknown_tensor_is_named() -> None:
    with open_container(GOLDEN) as container, pytest.raises(ContainerError, match="'w'"):
        container.read("w")
