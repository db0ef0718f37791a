"""Formats of the codec "winding" in a container."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from exporters.gguf.codec import Codec, Fields, TableKey
from exporters.gguf.spec import BOOL, STRING, U32, GGUFType, array_of
from runtime_ops.formats import Format, PartSpec, Table, WindingFormat


def _winding_fields(fmt: WindingFormat) -> Fields:
    fields = {key: getattr(fmt, key) for key in WINDING.keys if key != "table"}
    return {**fields, "generator": list(fmt.generator), "shift": list(fmt.shift)}


def _winding(fields: Fields, table: Table | None, formats: Sequence[Format]) -> WindingFormat:
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
        table=None if table is None else table.numbers,
    )


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
        "dim": U32,
        "generator": array_of(GGUFType.U32),
        "group": U32,
        "levels": U32,
        "offset": U32,
        "packing": STRING,
        "points": U32,
        "shift": array_of(GGUFType.U32),
        "table": U32,
    },
    parts=("codes", "scales", "params"),
    fields=_winding_fields,
    make=_winding,
    record=_winding_record,
    table_key=TableKey(
        "table",
        lambda fmt: None if fmt.table is None else Table.of(np.array(fmt.table, "<i2")),
        lambda fields: PartSpec("table", np.dtype("<i2"), fields["levels"]),
    ),
)
