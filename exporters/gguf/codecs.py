"""What a container holds for each codec: keys, table, parts and format record (docs/format.md).

A new codec is one more `Codec` in CODECS.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from exporters.gguf.spec import BOOL, STRING, U32, GGUFType, Kind, array_of
from runtime_ops.formats import (
    ColumnsFormat,
    CrvqFormat,
    Format,
    FormatError,
    PartSpec,
    RawFormat,
    Table,
    WindingFormat,
)
from runtime_ops.formats.crvq import MAX_CODE_BITS, MAX_STAGES

F = TypeVar("F", bound=Format)
Fields = Mapping[str, Any]  # values of a format's keys, each of the kind that `keys` says
FORMATS_KEY = "formats"  # numbers of the formats that a format is made of
MAX_MATRICES = 2  # that a tensor is made of: those of a ColumnsFormat


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


RAW = Codec[RawFormat](
    keys={"dtype": STRING},
    parts=("raw",),
    fields=lambda fmt: {"dtype": fmt.dtype},
    make=lambda fields, table, formats: RawFormat(fields["dtype"]),
    record=lambda fmt: struct.pack("<I", int(fmt.dtype == "f16")),
)


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


def _crvq_fields(fmt: CrvqFormat) -> Fields:
    return {
        "code_bits": fmt.code_bits,
        "critical_groups": [0, *fmt.critical_groups],
        "dim": fmt.dim,
        "shifts": list(fmt.shifts),
        "wide": fmt.codebooks.dtype == "<i2",
    }


def _crvq(fields: Fields, table: Table | None, formats: Sequence[Format]) -> CrvqFormat:
    if table is None:
        raise FormatError("crvq: codebooks is 0, expected a table")
    stages, critical_groups = len(fields["shifts"]), fields["critical_groups"]
    if len(critical_groups) != stages:
        found = len(critical_groups)
        raise FormatError(f"crvq: critical_groups has {found} values, expected {stages}")
    if critical_groups[:1] != [0]:
        found = critical_groups[:1]
        raise FormatError(f"crvq: critical_groups starts with {found}, expected [0]")
    return CrvqFormat(
        dim=fields["dim"],
        code_bits=fields["code_bits"],
        critical_groups=tuple(critical_groups[1:]),
        shifts=tuple(fields["shifts"]),
        codebooks=table,
    )


def _crvq_table_spec(fields: Fields) -> PartSpec:
    bits = fields["code_bits"]
    if bits > MAX_CODE_BITS:
        raise FormatError(f"crvq: code_bits is {bits}, expected 1..{MAX_CODE_BITS}")
    size = len(fields["shifts"]) * fields["dim"] << bits
    return PartSpec("codebooks", np.dtype("<i2" if fields["wide"] else "i1"), size)


def _crvq_record(fmt: CrvqFormat) -> bytes:
    wide = fmt.codebooks.dtype == "<i2"
    pad = (0,) * (MAX_STAGES - fmt.stages)
    numbers = 3, fmt.dim, fmt.code_bits, wide, fmt.stages, *fmt.shifts, *pad
    return struct.pack(f"<{5 + 2 * MAX_STAGES}I", *numbers, 0, *fmt.critical_groups, *pad)


CRVQ = Codec[CrvqFormat](
    keys={
        "code_bits": U32,
        "codebooks": U32,
        "critical_groups": array_of(GGUFType.U32),
        "dim": U32,
        "shifts": array_of(GGUFType.U32),
        "wide": BOOL,
    },
    parts=("codes", "extended", "scales", "params"),
    fields=_crvq_fields,
    make=_crvq,
    record=_crvq_record,
    table_key=TableKey("codebooks", lambda fmt: fmt.codebooks, _crvq_table_spec),
)


def _n_permuted(fmt: ColumnsFormat) -> int:
    return 0 if fmt.permutation is None else fmt.permutation.array.size


def _columns(fields: Fields, table: Table | None, formats: Sequence[Format]) -> ColumnsFormat:
    plain = [fmt for fmt in formats if not isinstance(fmt, ColumnsFormat)]
    if len(plain) != len(formats) or not 1 <= len(plain) <= MAX_MATRICES:
        found = [fmt.codec for fmt in formats[: MAX_MATRICES + 1]]
        raise FormatError(f"columns: formats of {found}, expected one or two, none of columns")
    fmt = ColumnsFormat(
        rest=plain[-1],
        critical=plain[0] if len(plain) == MAX_MATRICES else None,
        n_critical=fields["n_critical"],
        permutation=table,
    )
    if fields["columns"] != _n_permuted(fmt):
        raise FormatError(f"columns: columns is {fields['columns']}, expected {_n_permuted(fmt)}")
    return fmt


COLUMNS = Codec[ColumnsFormat](
    keys={
        "columns": U32,
        FORMATS_KEY: array_of(GGUFType.U32),
        "n_critical": U32,
        "permutation": U32,
    },
    parts=(),
    fields=lambda fmt: {"columns": _n_permuted(fmt), "n_critical": fmt.n_critical},
    make=_columns,
    record=lambda fmt: struct.pack("<3I", 4, fmt.n_critical, _n_permuted(fmt)),
    table_key=TableKey(
        "permutation",
        lambda fmt: fmt.permutation,
        lambda fields: PartSpec("permutation", np.dtype("<u2"), fields["columns"]),
    ),
    formats=lambda fmt: (*([] if fmt.critical is None else [fmt.critical]), fmt.rest),
)

CODECS: dict[str, Codec[Any]] = {"raw": RAW, "winding": WINDING, "crvq": CRVQ, "columns": COLUMNS}
MAX_PARTS = MAX_MATRICES * max(len(codec.parts) for codec in CODECS.values())


def format_table(fmt: Format) -> Table | None:
    """The table that a format refers to; None when there is none."""
    key = CODECS[fmt.codec].table_key
    table: Table | None = None if key is None else key.table(fmt)
    return table
