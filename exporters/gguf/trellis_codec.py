"""Formats of the codec "trellis" in a container."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from exporters.gguf.codec import Codec, Fields, TableKey
from exporters.gguf.spec import BOOL, U32, GGUFType, array_of
from runtime_ops.formats import Format, FormatError, PartSpec, Table, TrellisFormat
from runtime_ops.formats.trellis import MAX_TABLE_BITS, MIN_TABLE_BITS


def _trellis_fields(fmt: TrellisFormat) -> Fields:
    return {
        "fold": fmt.fold,
        "multipliers": list(fmt.multipliers),
        "rotation": fmt.rotation,
        "seed": fmt.seed,
        "state_bits": fmt.state_bits,
        "step_bits": fmt.step_bits,
        "table_bits": fmt.table_bits,
        "wide": fmt.table.dtype == "<i2",
    }


def _trellis(fields: Fields, table: Table | None, formats: Sequence[Format]) -> TrellisFormat:
    if table is None:
        raise FormatError("trellis: table is 0, expected a table")
    return TrellisFormat(
        state_bits=fields["state_bits"],
        step_bits=fields["step_bits"],
        multipliers=tuple(fields["multipliers"]),
        table=table,
        fold=fields["fold"],
        rotation=fields["rotation"],
        seed=fields["seed"],
    )


def _trellis_table_spec(fields: Fields) -> PartSpec:
    bits = fields["table_bits"]
    if bits > MAX_TABLE_BITS:
        raise FormatError(
            f"trellis: table_bits is {bits}, expected {MIN_TABLE_BITS}..{MAX_TABLE_BITS}"
        )
    return PartSpec("table", np.dtype("<i2" if fields["wide"] else "i1"), 1 << bits)


def _trellis_record(fmt: TrellisFormat) -> bytes:
    return struct.pack(
        "<11I",
        5,
        fmt.state_bits,
        fmt.step_bits,
        fmt.dim,
        fmt.fold,
        *fmt.multipliers,
        *(0,) * (2 - fmt.dim),
        fmt.table_bits,
        fmt.table.dtype == "<i2",
        fmt.rotation,
        fmt.seed,
    )


TRELLIS = Codec[TrellisFormat](
    keys={
        "fold": U32,
        "multipliers": array_of(GGUFType.U32),
        "rotation": U32,
        "seed": U32,
        "state_bits": U32,
        "step_bits": U32,
        "table": U32,
        "table_bits": U32,
        "wide": BOOL,
    },
    parts=("codes", "scales", "params"),
    fields=_trellis_fields,
    make=_trellis,
    record=_trellis_record,
    table_key=TableKey("table", lambda fmt: fmt.table, _trellis_table_spec),
)
