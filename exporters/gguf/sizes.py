"""Bytes that tensors and tables take in a container, known before there is one."""

from __future__ import annotations

from collections.abc import Iterable

from exporters.gguf.format_list import FormatList
from exporters.gguf.spec import align
from runtime_ops.formats import Format, PartSpec


def payload_bytes(spec: PartSpec) -> int:
    """Bytes of a part with its padding."""
    return align(spec.size * spec.dtype.itemsize)


def tensor_bytes(fmt: Format, shape: tuple[int, ...]) -> int:
    """Bytes of all parts of a tensor with their padding, without the tables of its format.

    FormatError when the format does not fit the shape.
    """
    return sum(map(payload_bytes, fmt.part_specs(shape)))


def table_bytes(formats: Iterable[Format]) -> int:
    """Bytes of the tables of some formats with their padding, each table once."""
    return sum(align(len(table.data)) for table in FormatList(formats).tables)
