"""Formats of the codec "uniform" in a container."""

from __future__ import annotations

import struct

from exporters.gguf.codec import Codec
from exporters.gguf.spec import U32
from runtime_ops.formats import UniformFormat

UNIFORM = Codec[UniformFormat](
    keys={"bits": U32, "group": U32},
    parts=("codes", "scales", "params"),
    fields=lambda fmt: {"bits": fmt.bits, "group": fmt.group},
    make=lambda fields, table, formats: UniformFormat(fields["bits"], fields["group"]),
    record=lambda fmt: struct.pack("<3I", 6, fmt.bits, fmt.group),
)
