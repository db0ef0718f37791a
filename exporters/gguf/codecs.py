"""What a container holds for each codec: keys, table, parts and format record (docs/format.md).

A new codec is one more file, and one more row in CODECS.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from exporters.gguf.codec import Codec, Fields, TableKey
from exporters.gguf.crvq_codec import CRVQ
from exporters.gguf.spec import STRING, U32, GGUFType, array_of
from exporters.gguf.trellis_codec import TRELLIS
from exporters.gguf.uniform_codec import UNIFORM
from exporters.gguf.winding_codec import WINDING
from runtime_ops.formats import ColumnsFormat, Format, FormatError, PartSpec, RawFormat, Table

FORMATS_KEY = "formats"  # numbers of the formats that a format is made of
MAX_MATRICES = 2  # that a tensor is made of: those of a ColumnsFormat

RAW = Codec[RawFormat](
    keys={"dtype": STRING},
    parts=("raw",),
    fields=lambda fmt: {"dtype": fmt.dtype},
    make=lambda fields, table, formats: RawFormat(fields["dtype"]),
    record=lambda fmt: struct.pack("<I", int(fmt.dtype == "f16")),
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

CODECS: dict[str, Codec[Any]] = {
    "raw": RAW,
    "winding": WINDING,
    "crvq": CRVQ,
    "trellis": TRELLIS,
    "uniform": UNIFORM,
    "columns": COLUMNS,
}
MAX_PARTS = MAX_MATRICES * max(len(codec.parts) for codec in CODECS.values())


def format_table(fmt: Format) -> Table | None:
    """The table that a format refers to; None when there is none."""
    key = CODECS[fmt.codec].table_key
    table: Table | None = None if key is None else key.table(fmt)
    return table
