"""Formats of the codec "crvq" in a container; codebooks are a table."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from exporters.gguf.codec import Codec, Fields, TableKey
from exporters.gguf.spec import BOOL, U32, GGUFType, array_of
from runtime_ops.formats import CrvqFormat, Format, FormatError, PartSpec, Table
from runtime_ops.formats.crvq import MAX_CODE_BITS, MAX_STAGES


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
