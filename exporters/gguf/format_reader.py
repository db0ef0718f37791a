"""Makes the formats of a file of their keys and tables, and checks both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.gguf.codec import Codec, Fields
from exporters.gguf.codecs import CODECS, FORMATS_KEY
from exporters.gguf.parse import Entry
from exporters.gguf.payloads import Payloads
from exporters.gguf.spec import (
    MAX_FORMATS,
    MAX_TABLE_BYTES,
    PAYLOAD_TYPES,
    STRING,
    ContainerError,
    Kind,
    table_name,
)
from runtime_ops.formats import Format, FormatError, PartSpec, Table


def check_kind(entries: Mapping[str, Entry], key: str, kind: Kind) -> None:
    """ContainerError unless the file has the key, with a value of that kind."""
    if key not in entries:
        raise ContainerError(f"key {key}: missing")
    if entries[key].kind != kind:
        found, expected = (_kind_text(k) for k in (entries[key].kind, kind))
        raise ContainerError(f"key {key}: type {found}, expected {expected}")


def _kind_text(kind: Kind) -> str:
    outer, element = kind
    return outer.name.lower() if element is None else f"array of {element.name.lower()}"


def check_format_keys(entries: Mapping[str, Entry]) -> Iterator[str]:
    """The keys that the formats have, each checked; the format count was."""
    count = entries["edgecomp.format.count"].value
    if not isinstance(count, int) or not 1 <= count <= MAX_FORMATS:
        raise ContainerError(f"edgecomp.format.count: {count}, expected 1..{MAX_FORMATS}")
    for i in range(count):
        prefix = f"edgecomp.format.{i}."
        check_kind(entries, f"{prefix}codec", STRING)
        codec = str(entries[f"{prefix}codec"].value)
        if codec not in CODECS:
            known = [*CODECS]
            raise ContainerError(f"format {i}: unknown codec {codec!r}, expected one of {known}")
        yield f"{prefix}codec"
        for key, kind in CODECS[codec].keys.items():
            check_kind(entries, prefix + key, kind)
            yield prefix + key


def read_formats(metadata: Mapping[str, Any], payloads: Payloads) -> tuple[Format, ...]:
    """The formats of the file, tables included; the keys were checked."""
    tables = _Tables(payloads)
    formats: list[Format] = []
    for i in range(metadata["edgecomp.format.count"]):
        prefix = f"edgecomp.format.{i}."
        codec = CODECS[metadata[f"{prefix}codec"]]
        fields = {key: metadata[prefix + key] for key in codec.keys}
        try:
            formats.append(_format(codec, fields, tables, formats))
        except FormatError as error:
            raise ContainerError(f"format {i}: {error}") from error
    return tuple(formats)


def _format(
    codec: Codec[Any], fields: Fields, tables: _Tables, earlier: Sequence[Format]
) -> Format:
    """The format with these fields, which refers to none but `earlier` ones."""
    table, key = None, codec.table_key
    if key is not None and fields[key.name]:
        table = tables.get(fields[key.name], key.spec(fields))
    numbers = fields.get(FORMATS_KEY, [])
    if any(number >= len(earlier) for number in numbers):
        raise FormatError(f"made of format {max(numbers)}, expected less than {len(earlier)}")
    made: Format = codec.make(fields, table, [earlier[number] for number in numbers])
    return made


class _Tables:
    """The tables of a file; formats must refer to them in their order."""

    def __init__(self, payloads: Payloads) -> None:
        self._payloads = payloads
        self._arrays: list[NDArray[np.generic]] = []
        self._tables: dict[tuple[int, str], Table] = {}
        self._n_bytes = 0  # of all that formats referred to

    def get(self, number: int, spec: PartSpec) -> Table:
        """Table `number`, counted from 1; FormatError unless it is as `spec` says."""
        self._n_bytes += spec.size * spec.dtype.itemsize
        if self._n_bytes > MAX_TABLE_BYTES:
            raise FormatError(f"tables of {self._n_bytes} bytes, expected <= {MAX_TABLE_BYTES}")
        if number > len(self._arrays) + 1:
            raise FormatError(f"table {number}, expected at most {len(self._arrays) + 1}")
        if number == len(self._arrays) + 1:
            self._arrays.append(self._payloads.take(table_name(number), spec))
        array = self._arrays[number - 1]
        found, expected = (
            f"{PAYLOAD_TYPES[dtype].name.lower()}({size},)"
            for dtype, size in ((array.dtype, array.size), (spec.dtype, spec.size))
        )
        if found != expected:
            raise FormatError(f"table {number} is {found}, expected {expected}")
        key = number, spec.dtype.str
        if key not in self._tables:
            self._tables[key] = Table(spec.dtype.str, array.tobytes())
        return self._tables[key]
