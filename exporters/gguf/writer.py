"""Writes a bundle as a container, one tensor in memory at a time, all of it or nothing.

Two passes: the first loads every tensor for its format, sizes and digest, which the header needs;
the second loads it again for its data.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO

import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter
from numpy.typing import NDArray

from exporters.bundle import ModelBundle, TensorSource
from exporters.gguf.digest import digest
from exporters.gguf.format_list import FormatList
from exporters.gguf.keys import Pair, bundle_pairs, format_pairs, ordered, tensor_pairs
from exporters.gguf.reader import open_container
from exporters.gguf.sizes import payload_bytes, tensor_bytes
from exporters.gguf.spec import (
    ARCHITECTURE,
    MAX_FORMATS,
    MAX_TENSORS,
    PAYLOAD_TYPES,
    ContainerError,
    align,
    check_name,
    payload_name,
    table_name,
)
from runtime_ops.formats import EncodedTensor, Format, PartSpec


@dataclass(frozen=True)
class ContainerSummary:
    """What was written; `header_bytes` is all that comes before the tensor data."""

    file_bytes: int
    header_bytes: int
    n_tensors: int
    n_weights: int


@dataclass(frozen=True)
class _Tensor:
    """What the header says about a tensor, and where to get its data."""

    source: TensorSource
    format: Format
    shape: tuple[int, ...]
    error_bound: float
    sha256: str

    def payloads(self, index: int) -> list[PartSpec]:
        """The parts under their names in the file; the tensor is the `index`-th of the file."""
        specs = self.format.part_specs(self.shape)
        return [replace(s, name=payload_name(self.source.name, index, s.name)) for s in specs]


def write_container(
    bundle: ModelBundle,
    path: Path,
    progress: Callable[[int, int], None] | None = None,
    writer: str | None = None,
) -> ContainerSummary:
    """Writes the bundle to `path`, which is replaced in one step when everything is on the disk.

    `progress` is called with the bytes of tensor data written so far and in all. `writer` names the
    program, by default edgecomp and its version. Memory: one tensor at a time. ContainerError when
    the bundle breaks a limit of docs/format.md; OSError when writing fails or `path` exists and is
    not a regular file. In both cases, and on any other exception, `path` stays as it was; but when
    the disk fails only at keeping the folder's new entry, the new file is in its place.
    """
    pairs = bundle_pairs(bundle, writer or _default_writer())
    sources = _sorted_sources(bundle)
    with _replacing(path) as temporary:
        tensors = [_describe(source) for source in sources]
        listed = FormatList(tensor.format for tensor in tensors)
        if len(listed.formats) > MAX_FORMATS:
            raise ContainerError(f"{len(listed.formats)} formats, expected at most {MAX_FORMATS}")
        payloads = _payloads(listed, tensors)
        pairs += format_pairs(listed) + _tensor_pairs(listed, tensors)
        _write_header(temporary, ordered(pairs), payloads)
        with open(temporary, "r+b") as file:
            file.seek(0, os.SEEK_END)
            _pad(file)
            header_bytes = file.tell()
            data_bytes = sum(map(payload_bytes, payloads))
            _reserve(file, header_bytes + data_bytes)
            _write_data(file, listed, tensors, _Counter(progress, data_bytes))
            file.flush()
            os.fsync(file.fileno())
        open_container(temporary).close()  # what we write, we can read: every limit holds
    n_weights = sum(math.prod(tensor.shape) for tensor in tensors)
    return ContainerSummary(header_bytes + data_bytes, header_bytes, len(tensors), n_weights)


def _default_writer() -> str:
    try:
        return f"edgecomp {version('edgecomp')}"
    except PackageNotFoundError:  # run from a source tree
        return "edgecomp"


def _sorted_sources(bundle: ModelBundle) -> list[TensorSource]:
    """The sources by name as bytes, each name once."""
    if not 1 <= len(bundle.tensors) <= MAX_TENSORS:
        raise ContainerError(f"{len(bundle.tensors)} tensors, expected 1..{MAX_TENSORS}")
    for source in bundle.tensors:
        check_name(source.name)
    sources = sorted(bundle.tensors, key=lambda source: source.name.encode())
    for a, b in itertools.pairwise(sources):
        if a.name == b.name:
            raise ContainerError(f"tensor {a.name!r}: given twice")
    return sources


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A new file beside `path` that takes its place at the end, or goes away on an exception."""
    target = Path(os.path.realpath(path))  # a link stays, the file behind it is replaced
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        code = errno.EISDIR if target.is_dir() else errno.EINVAL
        raise OSError(code, "exists and is not a regular file", str(path))
    temporary = target.with_name(f".edgecomp-{secrets.token_hex(8)}.tmp")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield temporary
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Puts the folder's entries on the disk, so that a rename outlives a power loss.

    Only where the system can (POSIX), the file system does it and the folder may be read.
    """
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL):
            raise


def _load(source: TensorSource) -> EncodedTensor:
    """The tensor with its error bound rounded up to float32, as the file has it."""
    tensor = source.load()
    with np.errstate(over="ignore"):
        bound = np.float32(tensor.error_bound)
    if float(bound) < tensor.error_bound:
        bound = np.nextafter(bound, np.float32(np.inf))
    if not np.isfinite(bound):
        found = f"error bound {tensor.error_bound}"
        raise ContainerError(f"tensor {source.name!r}: {found}, expected a finite float32")
    return replace(tensor, error_bound=float(bound))


def _describe(source: TensorSource) -> _Tensor:
    tensor = _load(source)
    return _Tensor(source, tensor.format, tensor.shape, tensor.error_bound, digest(tensor))


def _payloads(listed: FormatList, tensors: list[_Tensor]) -> list[PartSpec]:
    """Every payload of the file in its order, under its name there."""
    tables = [
        PartSpec(table_name(number), table.array.dtype, table.array.size)
        for number, table in enumerate(listed.tables, 1)
    ]
    return tables + [spec for i, tensor in enumerate(tensors) for spec in tensor.payloads(i)]


def _tensor_pairs(listed: FormatList, tensors: list[_Tensor]) -> list[Pair]:
    offset = sum(align(len(table.data)) for table in listed.tables)
    offsets = []
    for tensor in tensors:
        offsets.append(offset)
        offset += tensor_bytes(tensor.format, tensor.shape)
    fields: dict[str, Sequence[object]] = {
        "data_offsets": offsets,
        "error_bounds": [tensor.error_bound for tensor in tensors],
        "formats": [listed.number(tensor.format) for tensor in tensors],
        "n_dims": [len(tensor.shape) for tensor in tensors],
        "names": [tensor.source.name for tensor in tensors],
        "sha256": [tensor.sha256 for tensor in tensors],
    }
    return tensor_pairs(fields, [side for tensor in tensors for side in tensor.shape])


def _write_header(path: Path, pairs: list[Pair], payloads: list[PartSpec]) -> None:
    """Header, metadata and tensor infos, by gguf's writer."""
    gguf = GGUFWriter(path, ARCHITECTURE)  # which adds general.architecture itself
    for pair in pairs[1:]:
        outer, element = pair.kind
        sub_type = None if element is None else GGUFValueType(element)
        gguf.add_key_value(pair.key, pair.value, GGUFValueType(outer), sub_type)
    for spec in payloads:
        gguf_type = GGMLQuantizationType(PAYLOAD_TYPES[spec.dtype])
        n_bytes = spec.size * spec.dtype.itemsize
        gguf.add_tensor_info(spec.name, [spec.size], spec.dtype, n_bytes, raw_dtype=gguf_type)
    try:
        gguf.write_header_to_file()
        gguf.write_kv_data_to_file()
        gguf.write_ti_data_to_file()
    finally:
        gguf.close()


class _Counter:
    """Counts the bytes of tensor data that are written."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def add(self, n_bytes: int) -> None:
        self._done += n_bytes
        if self._progress is not None:
            self._progress(self._done, self._total)


def _write_data(
    file: BinaryIO, listed: FormatList, tensors: list[_Tensor], counter: _Counter
) -> None:
    for table in listed.tables:
        counter.add(_write_payload(file, table.array))
    for tensor in tensors:
        _write_tensor(file, tensor, counter)


def _write_tensor(file: BinaryIO, tensor: _Tensor, counter: _Counter) -> None:
    encoded = _load(tensor.source)
    if digest(encoded) != tensor.sha256:
        raise ContainerError(f"tensor {tensor.source.name!r}: differs when loaded again")
    for part in encoded.parts.values():
        counter.add(_write_payload(file, part))


def _write_payload(file: BinaryIO, array: NDArray[np.generic]) -> int:
    """Writes an array and its padding; returns the bytes of both."""
    start = file.tell()
    file.write(np.ascontiguousarray(array).data.cast("B"))
    _pad(file)
    return file.tell() - start


def _pad(file: BinaryIO) -> None:
    file.write(bytes(align(file.tell()) - file.tell()))


def _reserve(file: BinaryIO, n_bytes: int) -> None:
    """Makes sure that the disk has room: OSError here, before the data is written, if it has not.

    Where the system or the file system cannot tell, a full disk is found out by writing.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file.fileno(), 0, n_bytes)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
