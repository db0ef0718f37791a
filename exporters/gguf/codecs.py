"""What a container holds for each codec: keys, table, parts and format record (docs/format.md).

A new codec is one more `Codec` in CODECS.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from exporters.gguf.spec import BOOL, STRING, U32, GGUFType, Kind, array_of
from runtime_ops.formats import Format, PartSpec, RawFormat, WindingFormat

F = TypeVar("F", bound=Format)
Fields = Mapping[str, Any]  # values of a format's keys, each of the kind that `keys` says
Table = NDArray[np.generic] | None


@dataclass(frozen=True)
class Codec(Generic[F]):
    """How formats of one codec lie in a file. Sizes of parts are those of `Format.part_specs`."""

    keys: Mapping[str, Kind]  # after edgecomp.format.<i>., besides `codec`
    parts: tuple[str, ...]  # all that a tensor may have, in file order
    fields: Callable[[F], Fields]
    table: Callable[[F], Table]
    table_spec: Callable[[Fields], PartSpec | None]  # of the table, from fields not checked yet
    make: Callable[[Fields, Table], F]  # FormatError unless the fields are inside their limits
    record: Callable[[F], bytes]  # what the digest covers of a format, but for the table


RAW = Codec[RawFormat](
    keys={"dtype": STRING},
    parts=("raw",),
    fields=lambda fmt: {"dtype": fmt.dtype},
    table=lambda fmt: None,
    table_spec=lambda fields: None,
    make=lambda fields, table: RawFormat(fields["dtype"]),
    record=lambda fmt: struct.pack("<I", int(fmt.dtype == "f16")),
)


def _winding_fields(fmt: WindingFormat) -> Fields:
    plain = [key for key in WINDING.keys if key not in ("companded", "generator", "shift")]
    return {
        **{key: getattr(fmt, key) for key in plain},
        "companded": fmt.table is not None,
        "generator": list(fmt.generator),
        "shift": list(fmt.shift),
    }


def _winding(fields: Fields, table: Table) -> WindingFormat:
    return WindingFormat(
        dim=fields["dim"],
        points=fields["points"],
        generator=tuple(fields["generator"]),
        shift=tuple(fields["shift"]),
        levels=fields["levels"],
        offset=fields["offset"],
        centre=fields["centre"],
        classes=fields["classes"],
        group=fields["group"],
        packing=fields["packing"],
        table=None if table is None else tuple(table.tolist()),
    )


def _winding_table_spec(fields: Fields) -> PartSpec | None:
    return PartSpec("table", np.dtype("<i2"), fields["levels"]) if fields["companded"] else None


def _winding_record(fmt: WindingFormat) -> bytes:
    pad = (0,) * (4 - fmt.dim)
    return struct.pack(
        "<18I",
        2,
        fmt.dim,
        fmt.points,
        *fmt.generator,
        *pad,
        *fmt.shift,
        *pad,
        fmt.levels,
        fmt.offset,
        fmt.centre,
        fmt.classes,
        fmt.group,
        fmt.packing == "radix",
        fmt.table is not None,
    )


WINDING = Codec[WindingFormat](
    keys={
        "centre": BOOL,
        "classes": U32,
        "companded": BOOL,
        "dim": U32,
        "generator": array_of(GGUFType.U32),
        "group": U32,
        "levels": U32,
        "offset": U32,
        "packing": STRING,
        "points": U32,
        "shift": array_of(GGUFType.U32),
    },
    parts=("codes", "scales", "params"),
    fields=_winding_fields,
    table=lambda fmt: None if fmt.table is None else np.array(fmt.table, "<i2"),
    table_spec=_winding_table_spec,
    make=_winding,
    record=_winding_record,
)

CODECS: dict[str, Codec[Any]] = {"raw": RAW, "winding": WINDING}
MAX_PARTS = max(len(codec.parts) for codec in CODECS.values())


def format_table(fmt: Format) -> Table:
    """The table of a format as it lies in the file; None when it has none."""
    return CODECS[fmt.codec].table(fmt)
