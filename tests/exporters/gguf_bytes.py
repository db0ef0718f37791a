"""A GGUF file taken apart, to be changed and put together again, sound or not."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

U8, U32, F32, BOOL, STRING, ARRAY, U64 = 0, 4, 6, 7, 8, 9, 10
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
CODES = {U8: "B", U32: "I", F32: "f", BOOL: "B", U64: "Q"}


@dataclass
class Info:
    """A tensor info; `dims` may hold any number of sides."""

    name: bytes
    dims: list[int]
    type: int
    offset: int


@dataclass
class GGUFBytes:
    """Every field of a file; `pairs` holds each key with its value, type included, as bytes."""

    pairs: dict[bytes, bytes]
    infos: list[Info]
    data: bytes
    magic: bytes = b"GGUF"
    version: int = 3
    n_pairs: int | None = None  # None: as many as there are
    n_infos: int | None = None
    head_padding: bytes | None = None  # None: zeros up to a multiple of 32
    order: list[bytes] = field(default_factory=list)  # of the keys; empty: as in `pairs`

    def build(self) -> bytes:
        """The file."""
        n_pairs = len(self.pairs) if self.n_pairs is None else self.n_pairs
        n_infos = len(self.infos) if self.n_infos is None else self.n_infos
        out = self.magic + struct.pack("<IQQ", self.version, n_infos, n_pairs)
        for key in self.order or self.pairs:
            out += text(key) + self.pairs[key]
        for info in self.infos:
            out += text(info.name) + struct.pack("<I", len(info.dims))
            out += struct.pack(f"<{len(info.dims)}QIQ", *info.dims, info.type, info.offset)
        padding = bytes(-len(out) % 32) if self.head_padding is None else self.head_padding
        return out + padding + self.data

    def sort(self) -> None:
        """Puts the keys where the format wants them, after one was added."""
        first = b"general.architecture"
        self.pairs = dict(sorted(self.pairs.items(), key=lambda pair: (pair[0] != first, pair[0])))


def take_apart(file: bytes) -> GGUFBytes:
    """The fields of a sound file."""
    n_infos, n_pairs = struct.unpack_from("<QQ", file, 8)
    at = 24
    pairs = {}
    for _ in range(n_pairs):
        key_end = _string_end(file, at)
        value_end = _value_end(file, key_end)
        pairs[file[at + 8 : key_end]] = file[key_end:value_end]
        at = value_end
    infos = []
    for _ in range(n_infos):
        end = _string_end(file, at)
        n_dims, size, gguf_type, offset = struct.unpack_from("<IQIQ", file, end)
        assert n_dims == 1
        infos.append(Info(file[at + 8 : end], [size], gguf_type, offset))
        at = end + 24
    return GGUFBytes(pairs, infos, file[at + -at % 32 :])


def text(raw: bytes) -> bytes:
    """A string as it lies in a file."""
    return struct.pack("<Q", len(raw)) + raw


def value(gguf_type: int, content: float | bytes) -> bytes:
    """A number, truth value or string with its type."""
    head = struct.pack("<I", gguf_type)
    if isinstance(content, bytes):
        return head + text(content)
    return head + struct.pack("<" + CODES[gguf_type], content)


def array(gguf_type: int, contents: list[float] | list[bytes]) -> bytes:
    """An array with its types."""
    head = struct.pack("<IIQ", ARRAY, gguf_type, len(contents))
    return head + b"".join(value(gguf_type, content)[4:] for content in contents)


def elements(raw: bytes) -> list[int]:
    """The elements of an array of u32 or u64."""
    _, gguf_type, count = struct.unpack_from("<IIQ", raw)
    return list(struct.unpack_from(f"<{count}{CODES[gguf_type]}", raw, 16))


def strings(raw: bytes) -> list[bytes]:
    """The elements of an array of strings."""
    found = []
    at = 16
    while at < len(raw):
        end = _string_end(raw, at)
        found.append(raw[at + 8 : end])
        at = end
    return found


def _string_end(file: bytes, at: int) -> int:
    return at + 8 + int(struct.unpack_from("<Q", file, at)[0])


def _value_end(file: bytes, at: int) -> int:
    (gguf_type,) = struct.unpack_from("<I", file, at)
    if gguf_type == STRING:
        return _string_end(file, at + 4)
    if gguf_type != ARRAY:
        return at + 4 + SIZES[gguf_type]
    element, count = struct.unpack_from("<IQ", file, at + 4)
    at += 16
    if element != STRING:
        return at + int(count) * SIZES[element]
    for _ in range(count):
        at = _string_end(file, at)
    return at
