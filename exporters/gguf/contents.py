"""Makes formats and tensors of a parsed file, and checks that it says exactly what it must.

The order of checks: format version, keys and their kinds, formats, tensors, end of the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.gguf.codecs import CODECS
from exporters.gguf.parse import Entry, GGUFStructure, check_zeros
from exporters.gguf.spec import (
    ALIGNMENT,
    ARCHITECTURE,
    DIMS_KEY,
    DIMS_KIND,
    FILE_KEYS,
    FORMAT_VERSION,
    MAX_FORMATS,
    MAX_TABLE_ENTRIES,
    MAX_TENSORS,
    MODEL_PREFIX,
    PAYLOAD_TYPES,
    STRING,
    U32,
    ContainerError,
    Kind,
    align,
    check_name,
    payload_name,
    table_name,
)
from runtime_ops.formats import (
    EncodedTensor,
    Format,
    FormatError,
    PartSpec,
    checked_weights,
)


@dataclass(frozen=True)
class TensorEntry:
    """What the file says about a tensor; `n_bytes` is the size of its parts without padding."""

    name: str
    format: Format
    shape: tuple[int, ...]
    error_bound: float
    sha256: str
    n_bytes: int

    @property
    def n_weights(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


class Payloads:
    """The GGUF tensors of a file, taken in the order in which they must come."""

    def __init__(self, data: bytes | mmap, structure: GGUFStructure) -> None:
        self._data = data
        self._infos = structure.infos
        self._start = structure.data_offset
        self._taken = 0
        self.end = 0  # of the last one taken, rounded up, from the start of the data

    def take(self, name: str, spec: PartSpec) -> NDArray[np.generic]:
        """The next payload, which must have that name, and dtype and size of `spec`; not copied."""
        what = f"GGUF tensor {name!r}"
        if self._taken == len(self._infos):
            raise ContainerError(f"{what}: missing, the file has {self._taken} GGUF tensors")
        info = self._infos[self._taken]
        self._taken += 1
        found = (info.name, info.type, info.size, info.offset)
        expected = (name, int(PAYLOAD_TYPES[spec.dtype]), spec.size, self.end)
        for field, a, b in zip(("name", "type", "size", "offset"), found, expected, strict=True):
            if a != b:
                raise ContainerError(f"{what}: {field} is {a!r}, expected {b!r}")
        start = self._start + self.end
        n_bytes = spec.size * spec.dtype.itemsize
        if n_bytes > len(self._data) - start:
            raise ContainerError(
                f"{what}: {n_bytes} bytes at byte {start}, expected to end by {len(self._data)}"
            )
        self.end += align(n_bytes)
        check_zeros(self._data, start + n_bytes, self._start + self.end, what)
        return np.frombuffer(self._data, spec.dtype, spec.size, start)

    def check_end(self) -> None:
        """ContainerError unless every payload was taken and the file ends behind the last one."""
        if self._taken != len(self._infos):
            raise ContainerError(f"{len(self._infos)} GGUF tensors, expected {self._taken}")
        if self._start + self.end != len(self._data):
            size = len(self._data)
            raise ContainerError(f"file: {size} bytes, expected {self._start + self.end}")


def check_keys(entries: Mapping[str, Entry]) -> None:
    """ContainerError unless the file has every key it must have, of its kind, and no other."""
    version = entries.get("edgecomp.format_version")
    if version is not None and version.kind == U32 and version.value != FORMAT_VERSION:
        raise ContainerError(f"format version: {version.value}, expected {FORMAT_VERSION}")
    for key, kind in FILE_KEYS.items():
        _check_kind(entries, key, kind)
    if entries["general.architecture"].value != ARCHITECTURE:
        value = entries["general.architecture"].value
        raise ContainerError(f"general.architecture: {value!r}, expected {ARCHITECTURE!r}")
    if "general.alignment" in entries:
        _check_kind(entries, "general.alignment", U32)
        if entries["general.alignment"].value != ALIGNMENT:
            value = entries["general.alignment"].value
            raise ContainerError(f"general.alignment: {value}, expected {ALIGNMENT}")
    if DIMS_KEY in entries:
        _check_kind(entries, DIMS_KEY, DIMS_KIND)
    ours = {*FILE_KEYS, DIMS_KEY, *_check_format_keys(entries)}
    for key in entries:
        if key.startswith("edgecomp.") and not key.startswith(MODEL_PREFIX) and key not in ours:
            raise ContainerError(f"key {key}: not known in format version {FORMAT_VERSION}")


def _check_kind(entries: Mapping[str, Entry], key: str, kind: Kind) -> None:
    if key not in entries:
        raise ContainerError(f"key {key}: missing")
    if entries[key].kind != kind:
        found, expected = (_kind_text(k) for k in (entries[key].kind, kind))
        raise ContainerError(f"key {key}: type {found}, expected {expected}")


def _kind_text(kind: Kind) -> str:
    outer, element = kind
    return outer.name.lower() if element is None else f"array of {element.name.lower()}"


def _check_format_keys(entries: Mapping[str, Entry]) -> Iterator[str]:
    """The keys that the formats have, each checked."""
    count = entries["edgecomp.format.count"].value
    if not isinstance(count, int) or not 1 <= count <= MAX_FORMATS:
        raise ContainerError(f"edgecomp.format.count: {count}, expected 1..{MAX_FORMATS}")
    for i in range(count):
        prefix = f"edgecomp.format.{i}."
        _check_kind(entries, f"{prefix}codec", STRING)
        codec = str(entries[f"{prefix}codec"].value)
        if codec not in CODECS:
            known = [*CODECS]
            raise ContainerError(f"format {i}: unknown codec {codec!r}, expected one of {known}")
        yield f"{prefix}codec"
        for key, kind in CODECS[codec].keys.items():
            _check_kind(entries, prefix + key, kind)
            yield prefix + key


def read_formats(metadata: Mapping[str, Any], payloads: Payloads) -> tuple[Format, ...]:
    """The formats of the file, tables included; the keys were checked."""
    described = []
    for i in range(metadata["edgecomp.format.count"]):
        prefix = f"edgecomp.format.{i}."
        codec = CODECS[metadata[f"{prefix}codec"]]
        fields = {key: metadata[prefix + key] for key in codec.keys}
        described.append((codec, fields, codec.table_spec(fields)))
    n_entries = sum(spec.size for _, _, spec in described if spec is not None)
    if n_entries > MAX_TABLE_ENTRIES:
        raise ContainerError(f"tables: {n_entries} entries, expected at most {MAX_TABLE_ENTRIES}")
    formats = []
    for i, (codec, fields, spec) in enumerate(described):
        table = None if spec is None else payloads.take(table_name(i), spec)
        try:
            formats.append(codec.make(fields, table))
        except FormatError as error:
            raise ContainerError(f"format {i}: {error}") from error
    return tuple(formats)


def read_tensors(
    metadata: Mapping[str, Any], formats: tuple[Format, ...], payloads: Payloads
) -> Iterator[tuple[TensorEntry, EncodedTensor]]:
    """The tensors of the file in order, their parts not copied; the keys were checked."""
    fields = {
        field: metadata[f"edgecomp.tensor.{field}"]
        for field in ("names", "formats", "n_dims", "error_bounds", "sha256", "data_offsets")
    }
    n_tensors = len(fields["names"])
    if not 1 <= n_tensors <= MAX_TENSORS:
        raise ContainerError(f"number of tensors: {n_tensors}, expected 1..{MAX_TENSORS}")
    for field, values in fields.items():
        if len(values) != n_tensors:
            key = f"edgecomp.tensor.{field}"
            raise ContainerError(f"{key}: {len(values)} values, expected {n_tensors}")
    dims = metadata.get(DIMS_KEY, [])
    if len(dims) != sum(fields["n_dims"]):
        raise ContainerError(f"{DIMS_KEY}: {len(dims)} values, expected {sum(fields['n_dims'])}")
    _check_names(fields["names"])
    first_dim = 0
    rows = zip(*fields.values(), strict=True)
    for i, (name, f, n_dims, bound, sha256, offset) in enumerate(rows):
        if f >= len(formats):
            raise ContainerError(f"tensor {name!r}: format {f}, expected less than {len(formats)}")
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise ContainerError(f"tensor {name!r}: sha256 {sha256!r}, expected 64 hex digits")
        if offset != payloads.end:
            raise ContainerError(f"tensor {name!r}: data offset {offset}, expected {payloads.end}")
        shape = tuple(dims[first_dim : first_dim + n_dims])
        try:
            encoded = _encoded_tensor(payloads, (name, i), formats[f], shape, bound)
        except FormatError as error:
            raise ContainerError(f"tensor {name!r}: {error}") from error
        yield TensorEntry(name, formats[f], shape, bound, sha256, encoded.n_bytes), encoded
        first_dim += n_dims


def _check_names(names: list[str]) -> None:
    previous = ""
    for name in names:
        check_name(name)
        if name.encode() <= previous.encode():
            raise ContainerError(f"tensor {name!r} after {previous!r}, expected ascending names")
        previous = name


def _encoded_tensor(
    payloads: Payloads,
    name_and_index: tuple[str, int],
    fmt: Format,
    shape: tuple[int, ...],
    error_bound: float,
) -> EncodedTensor:
    name, i = name_and_index
    checked_weights(shape)
    parts = {
        spec.name: payloads.take(payload_name(name, i, spec.name), spec)
        for spec in fmt.part_specs(shape)
    }
    return EncodedTensor(fmt, shape, parts, error_bound)
