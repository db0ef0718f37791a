"""Changes to a container that is taken apart, from which broken files are made."""

from __future__ import annotations

import struct
from collections.abc import Callable

from tests.exporters.gguf_bytes import (
    ARRAY,
    STRING,
    U32,
    U64,
    GGUFBytes,
    Info,
    array,
    elements,
    strings,
    value,
)

Change = Callable[[GGUFBytes], None]


def put(key: str, raw: bytes) -> Change:
    """Gives a key, old or new, another value."""

    def change(file: GGUFBytes) -> None:
        file.pairs[key.encode()] = raw
        file.sort()

    return change


def remove(key: str) -> Change:
    def change(file: GGUFBytes) -> None:
        del file.pairs[key.encode()]

    return change


def put_element(key: str, index: int, new: float) -> Change:
    """Changes an element of an array of numbers."""

    def change(file: GGUFBytes) -> None:
        raw = file.pairs[key.encode()]
        gguf_type = struct.unpack_from("<I", raw, 4)[0]
        values: list[float] = [*elements(raw)]
        values[index] = new
        file.pairs[key.encode()] = array(gguf_type, values)

    return change


def put_string(key: str, index: int, new: bytes) -> Change:
    def change(file: GGUFBytes) -> None:
        values = strings(file.pairs[key.encode()])
        values[index] = new
        file.pairs[key.encode()] = array(STRING, values)

    return change


def shorten(key: str) -> Change:
    """Drops the last element of an array."""

    def change(file: GGUFBytes) -> None:
        raw = file.pairs[key.encode()]
        gguf_type = struct.unpack_from("<I", raw, 4)[0]
        values = strings(raw) if gguf_type == STRING else elements(raw)
        file.pairs[key.encode()] = array(gguf_type, values[:-1])

    return change


def put_field(name: str, new: object) -> Change:
    return lambda file: setattr(file, name, new)


def put_info(payload: str, name: str, new: object) -> Change:
    """Changes a field of the info of a payload."""
    return lambda file: setattr(file.infos[info_index(file, payload)], name, new)


def swap_infos(first: str) -> Change:
    """Swaps the info of a payload with the next one."""

    def change(file: GGUFBytes) -> None:
        i = info_index(file, first)
        file.infos[i], file.infos[i + 1] = file.infos[i + 1], file.infos[i]

    return change


def info_index(file: GGUFBytes, payload: str) -> int:
    return next(i for i, info in enumerate(file.infos) if info.name == payload.encode())


def swap_keys(file: GGUFBytes) -> None:
    file.order = [*file.pairs]
    file.order[4], file.order[5] = file.order[5], file.order[4]


def swap_names(file: GGUFBytes) -> None:
    key = b"edgecomp.tensor.names"
    names = strings(file.pairs[key])
    file.pairs[key] = array(STRING, [names[1], names[0], *names[2:]])


def double_key(file: GGUFBytes) -> None:
    file.order = [*file.pairs]
    file.order.insert(5, file.order[5])
    file.n_pairs = len(file.order)


def double_architecture(file: GGUFBytes) -> None:
    keys = [*file.pairs]
    at = keys.index(b"general.name")
    file.order = [*keys[:at], keys[0], *keys[at:]]
    file.n_pairs = len(file.order)


def rename_key(old: str, new: bytes) -> Change:
    def change(file: GGUFBytes) -> None:
        file.pairs = {new if k == old.encode() else k: v for k, v in file.pairs.items()}

    return change


def put_data(payload: str, offset: int, new: bytes) -> Change:
    """Overwrites bytes of a payload, or of the padding behind it."""

    def change(file: GGUFBytes) -> None:
        at = file.infos[info_index(file, payload)].offset + offset
        file.data = file.data[:at] + new + file.data[at + len(new) :]

    return change


def several(*changes: Change) -> Change:
    def change(file: GGUFBytes) -> None:
        for one in changes:
            one(file)

    return change


def fill_head(file: GGUFBytes) -> None:
    size = len(file.build()) - len(file.data)
    file.head_padding = b""
    used = len(file.build()) - len(file.data)
    file.head_padding = b"\x01" * (size - used)


def add_table(data: bytes) -> Change:
    """Adds a table of 16-bit numbers behind the others, which no format refers to."""

    def change(file: GGUFBytes) -> None:
        n_tables = sum(info.name.startswith(b"table.") for info in file.infos)
        at, n_bytes = file.infos[n_tables].offset, len(data) + -len(data) % 32
        for info in file.infos[n_tables:]:
            info.offset += n_bytes
        table = Info(b"table.%d" % (n_tables + 1), [len(data) // 2], 25, at)
        file.infos.insert(n_tables, table)
        file.data = file.data[:at] + data + bytes(-len(data) % 32) + file.data[at:]
        key = b"edgecomp.tensor.data_offsets"
        file.pairs[key] = array(U64, [offset + n_bytes for offset in elements(file.pairs[key])])

    return change


def add_formats(like: int, n: int, **numbers: int) -> Change:
    """Adds copies of a format of the golden container, with some of their numbers changed."""

    def change(file: GGUFBytes) -> None:
        count = struct.unpack("<I", file.pairs[b"edgecomp.format.count"][4:])[0]
        for key, raw in [*file.pairs.items()]:
            if key.startswith(b"edgecomp.format.%d." % like):
                for i in range(count, count + n):
                    file.pairs[key.replace(b".%d." % like, b".%d." % i, 1)] = raw
        for key, number in numbers.items():
            for i in range(count, count + n):
                file.pairs[f"edgecomp.format.{i}.{key}".encode()] = value(U32, number)
        file.pairs[b"edgecomp.format.count"] = value(U32, count + n)
        file.sort()

    return change


def array_head(gguf_type: int, count: int) -> bytes:
    """An array that ends before its first element."""
    return struct.pack("<IIQ", ARRAY, gguf_type, count)


def string_head(size: int) -> bytes:
    """A string that ends before its first byte."""
    return struct.pack("<IQ", STRING, size)
