"""The formats that a file lists, and the tables that they refer to, each of both once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from exporters.gguf.codec import Fields
from exporters.gguf.codecs import CODECS, FORMATS_KEY, format_table
from exporters.gguf.spec import PAYLOAD_TYPES, TensorType
from runtime_ops.formats import Format


class FormatList:
    """Formats in file order: by first use, those that a format is made of before itself.

    `tables` are numbered from 1 by the first format that refers to them; they are told apart by
    type and contents as they lie in the file.
    """

    def __init__(self, formats: Iterable[Format]) -> None:
        self._numbers: dict[Format, int] = {}
        for fmt in formats:
            for one in (*CODECS[fmt.codec].formats(fmt), fmt):
                self._numbers.setdefault(one, len(self._numbers))
        self.formats = tuple(self._numbers)
        numbers: dict[tuple[TensorType, bytes], int] = {}
        tables = []
        self._table_numbers = [0] * len(self.formats)
        for i, fmt in enumerate(self.formats):
            table = format_table(fmt)
            if table is None:
                continue
            key = PAYLOAD_TYPES[np.dtype(table.dtype)], table.data
            if key not in numbers:
                tables.append(table)
                numbers[key] = len(tables)
            self._table_numbers[i] = numbers[key]
        self.tables = tuple(tables)

    def number(self, fmt: Format) -> int:
        """The format's number in the file."""
        return self._numbers[fmt]

    def fields(self, i: int) -> Fields:
        """Values of all keys of format i but `codec`."""
        fmt = self.formats[i]
        codec = CODECS[fmt.codec]
        fields = dict(codec.fields(fmt))
        if codec.table_key is not None:
            fields[codec.table_key.name] = self._table_numbers[i]
        if FORMATS_KEY in codec.keys:
            fields[FORMATS_KEY] = [self._numbers[one] for one in codec.formats(fmt)]
        return fields
