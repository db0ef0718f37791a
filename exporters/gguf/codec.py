"""How formats of a codec lie in a container: the type of the rows of exporters/gguf/codecs.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from exporters.gguf.spec import Kind
from runtime_ops.formats import Format, PartSpec, Table

F = TypeVar("F", bound=Format)
Fields = Mapping[str, Any]  # values of a format's keys, each of the kind that `keys` says


@dataclass(frozen=True)
class TableKey(Generic[F]):
    """The key of a format that says which table it has: the table's number, 0 for none."""

    name: str
    table: Callable[[F], Table | None]
    spec: Callable[[Fields], PartSpec]  # of the table, from fields that are not checked yet


@dataclass(frozen=True)
class Codec(Generic[F]):
    """How formats of one codec lie in a file. Sizes of parts are those of `Format.part_specs`.

    A format may refer to a table, and to other formats, which come before it; the keys of both
    hold numbers that depend on the file, so `fields` does not have them.
    """

    keys: Mapping[str, Kind]  # after edgecomp.format.<i>., besides `codec`
    parts: tuple[str, ...]  # all that a matrix may have, in file order; columns: none of its own
    fields: Callable[[F], Fields]
    make: Callable[[Fields, Table | None, Sequence[Format]], F]  # FormatError: beyond a limit
    record: Callable[[F], bytes]  # what the digest covers, but for table and other formats
    table_key: TableKey[F] | None = None
    formats: Callable[[F], tuple[Format, ...]] = lambda fmt: ()
