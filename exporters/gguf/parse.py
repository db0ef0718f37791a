"""Parses the structure of a GGUF file: metadata and tensor infos, every extent checked first.

What the keys mean is the business of contents.py.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from mmap import mmap

import numpy as np
from numpy.typing import NDArray

from exporters.bundle import MetadataValue
from exporters.gguf.codecs import MAX_PARTS
from exporters.gguf.spec import (
    HEADER_BYTES,
    MAX_ARRAY,
    MAX_FORMATS,
    MAX_HEADER_BYTES,
    MAX_KEY_BYTES,
    MAX_KEYS,
    MAX_PAYLOAD_NAME_BYTES,
    MAX_STRING_BYTES,
    MAX_TENSORS,
    NUMBER_DTYPES,
    ContainerError,
    GGUFType,
    Kind,
    align,
)

MAX_INFOS = MAX_FORMATS + MAX_PARTS * MAX_TENSORS
ARCHITECTURE_KEY = "general.architecture"


@dataclass(frozen=True, slots=True)
class Entry:
    """A metadata value and its kind."""

    kind: Kind
    value: MetadataValue


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What the file says about one GGUF tensor; `offset` in bytes from the start of the data."""

    name: str
    size: int
    type: int
    offset: int


@dataclass(frozen=True, slots=True)
class GGUFStructure:
    """Metadata in file order, tensor infos, and where the tensor data starts."""

    metadata: dict[str, Entry]
    infos: tuple[TensorInfo, ...]
    data_offset: int


def parse(data: bytes | mmap) -> GGUFStructure:
    """The structure of the file; ContainerError when it breaks docs/format.md, "File", "Limits"."""
    size = len(data)
    if size < HEADER_BYTES:
        raise ContainerError(f"file: {size} bytes, expected at least {HEADER_BYTES}")
    magic, version, n_infos, n_keys = struct.unpack_from("<4sIQQ", data)
    if magic != b"GGUF":
        raise ContainerError(f"magic: {magic!r}, expected b'GGUF'")
    if version != 3:
        raise ContainerError(f"GGUF version: {version}, expected 3")
    if n_keys > MAX_KEYS:
        raise ContainerError(f"number of keys: {n_keys}, expected at most {MAX_KEYS}")
    if n_infos > MAX_INFOS:
        raise ContainerError(f"number of GGUF tensors: {n_infos}, expected at most {MAX_INFOS}")
    cursor = _Cursor(data)
    metadata = _metadata(cursor, n_keys)
    infos = tuple(cursor.info() for _ in range(n_infos))
    data_offset = align(cursor.at)
    check_zeros(data, cursor.at, data_offset, "tensor infos")
    return GGUFStructure(metadata, infos, data_offset)


def check_zeros(data: bytes | mmap, start: int, stop: int, what: str) -> None:
    """ContainerError unless bytes start..stop-1, the padding behind `what`, exist and are zero."""
    if stop > len(data):
        raise ContainerError(f"{what}: padding ends at byte {stop}, expected within {len(data)}")
    if any(data[start:stop]):
        found = data[start:stop]
        raise ContainerError(f"{what}: padding at byte {start} is {found!r}, expected zeros")


def _metadata(cursor: _Cursor, n_keys: int) -> dict[str, Entry]:
    metadata: dict[str, Entry] = {}
    previous = ""
    for i in range(n_keys):
        key = cursor.key()
        if (key == ARCHITECTURE_KEY) != (i == 0):
            raise ContainerError(f"key {i}: {key!r}, expected {ARCHITECTURE_KEY!r} first and once")
        if i > 1 and key <= previous:
            raise ContainerError(f"key {i}: {key!r} after {previous!r}, expected ascending keys")
        metadata[key] = cursor.entry(key)
        previous = key
    return metadata


class _Cursor:
    """Reads a header from its start; every method raises ContainerError when the bytes end."""

    def __init__(self, data: bytes | mmap) -> None:
        self.data = data
        self.end = min(len(data), MAX_HEADER_BYTES)
        self.at = HEADER_BYTES

    def take(self, n_bytes: int, what: str) -> int:
        """Advances by `n_bytes`; returns where they start."""
        start = self.at
        if n_bytes > self.end - start:
            found = f"{n_bytes} bytes at byte {start}"
            raise ContainerError(f"{what}: {found}, expected to end by {self.end}")
        self.at = start + n_bytes
        return start

    def u32(self, what: str) -> int:
        return int(struct.unpack_from("<I", self.data, self.take(4, what))[0])

    def u64(self, what: str) -> int:
        return int(struct.unpack_from("<Q", self.data, self.take(8, what))[0])

    def raw_string(self, max_bytes: int, what: str) -> bytes:
        size = self.u64(what)
        if size > max_bytes:
            raise ContainerError(f"{what}: string of {size} bytes, expected at most {max_bytes}")
        start = self.take(size, what)
        return self.data[start : start + size]

    def string(self, max_bytes: int, what: str) -> str:
        raw = self.raw_string(max_bytes, what)
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise ContainerError(f"{what}: byte {error.start} of a string is not UTF-8") from error

    def key(self) -> str:
        """A key: 1..255 printable ASCII characters."""
        raw = self.raw_string(MAX_KEY_BYTES, "key")
        if not raw or min(raw) < 0x21 or max(raw) > 0x7E:
            raise ContainerError(f"key: {raw!r}, expected printable ASCII")
        return raw.decode()

    def entry(self, key: str) -> Entry:
        """The value of a key; arrays of at most MAX_ARRAY numbers or strings, not of arrays."""
        what = f"key {key}"
        gguf_type = self.type(what)
        if gguf_type is GGUFType.STRING:
            return Entry((gguf_type, None), self.string(MAX_STRING_BYTES, what))
        if gguf_type is not GGUFType.ARRAY:
            return Entry((gguf_type, None), self.numbers(gguf_type, 1, what).tolist()[0])
        element = self.type(what)
        count = self.u64(what)
        if count > MAX_ARRAY:
            raise ContainerError(f"{what}: array of {count} elements, expected at most {MAX_ARRAY}")
        if element is GGUFType.ARRAY:
            raise ContainerError(f"{what}: array of arrays, expected a flat one")
        if element is GGUFType.STRING:
            strings = [self.string(MAX_STRING_BYTES, what) for _ in range(count)]
            return Entry((gguf_type, element), strings)
        return Entry((gguf_type, element), self.numbers(element, count, what).tolist())

    def type(self, what: str) -> GGUFType:
        number = self.u32(what)
        if number > max(GGUFType):
            raise ContainerError(f"{what}: type {number}, expected at most {max(GGUFType)}")
        return GGUFType(number)

    def numbers(self, gguf_type: GGUFType, count: int, what: str) -> NDArray[np.generic]:
        """`count` numbers or truth values, copied out of the file."""
        dtype = NUMBER_DTYPES[gguf_type]
        start = self.take(count * dtype.itemsize, what)
        values = np.frombuffer(self.data, dtype, count, start).copy()
        if gguf_type is not GGUFType.BOOL:
            return values
        if count and values.max() > 1:
            raise ContainerError(f"{what}: truth value {values.max()}, expected 0 or 1")
        return values.astype(np.bool_)

    def info(self) -> TensorInfo:
        """A tensor info: name, one dimension, type, offset."""
        name = self.string(MAX_PAYLOAD_NAME_BYTES, "GGUF tensor name")
        what = f"GGUF tensor {name!r}"
        n_dims = self.u32(what)
        if n_dims != 1:
            raise ContainerError(f"{what}: {n_dims} dimensions, expected 1")
        return TensorInfo(name, self.u64(what), self.u32(what), self.u64(what))
