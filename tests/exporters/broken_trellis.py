"""Every way in which trellis formats of a container can be broken."""

from __future__ import annotations

import struct

from tests.exporters.broken import (
    FORMAT,
    METADATA,
    PAIRED,
    ROTATED,
    TENSOR,
    TRELLIS,
    Broken,
)
from tests.exporters.changes import put, put_data, put_element, put_info, several
from tests.exporters.gguf_bytes import BOOL, U32, U64, array, value

LARGEST = (1 << 32) - 1

PARAMETERS = (
    *(Broken(f"state_bits {new}", put(TRELLIS + "state_bits", value(U32, new)),
             f"state_bits is {new}, expected one of", FORMAT)
      for new in (0, 7, 9, 11, 14, 17, LARGEST)),
    *(Broken(f"step_bits {new} of 8", put(TRELLIS + "step_bits", value(U32, new)),
             f"step_bits is {new}, expected 1..7", FORMAT) for new in (0, 8, LARGEST)),
    *(Broken(f"step_bits {new} of 16", put(PAIRED + "step_bits", value(U32, new)),
             f"step_bits is {new}, expected 1..8", FORMAT) for new in (0, 9)),
    *(Broken(f"multipliers {new}", put(TRELLIS + "multipliers", array(U32, new)),
             "multipliers is (", FORMAT)
      for new in ([], [0], [70], [257], [LARGEST], [71, 2], [71, 257], [71, 1, 3])),
    *(Broken(f"multipliers that are {name}", put(TRELLIS + "multipliers", new), "multipliers",
             METADATA)
      for name, new in (("a number", value(U32, 71)), ("of u64", array(U64, [71])))),
    *(Broken(f"fold {new} of {bits}", put(prefix + "fold", value(U32, new)),
             f"fold is {new}, expected 0..{bits - 1}", FORMAT)
      for prefix, bits, new in ((TRELLIS, 8, 8), (PAIRED, 16, 16), (PAIRED, 16, LARGEST))),
    *(Broken(f"rotation {new}", put(ROTATED + "rotation", value(U32, new)),
             f"rotation is {new}, expected 0 or a power of two in 2..4096", FORMAT)
      for new in (1, 3, 6, 4095, 8192, 1 << 31, LARGEST)),
    Broken("seed without a rotation", put(TRELLIS + "seed", value(U32, 1)), "seed is 1", FORMAT),
    Broken("rotation taken off its seed", put(ROTATED + "rotation", value(U32, 0)),
           "seed is 4294967295, expected 0..2**32-1, 0 without a rotation", FORMAT),
)  # fmt: skip

TABLES = (
    Broken("trellis without a table", put(TRELLIS + "table", value(U32, 0)), "table is 0", FORMAT),
    Broken("later table of a trellis", put(TRELLIS + "table", value(U32, 6)),
           "table 6, expected at most 5", FORMAT),
    *(Broken(f"table_bits {new}", put(TRELLIS + "table_bits", value(U32, new)), message, FORMAT)
      for new, message in ((0, "expected 1"), (3, "expected 8"), (9, "expected 512"),
                           (13, "table_bits is 13"), (LARGEST, "table_bits is"))),
    *(Broken(f"table of {1 << bits} entries", several(
             put(TRELLIS + "table_bits", value(U32, bits)),
             put_info("table.5", "dims", [1 << bits]), put_data("table.5", 1 << bits, bytes(16))),
             f"table is |i1({1 << bits},)", FORMAT) for bits in (2, 3)),
    Broken("size of a table of a trellis", put(TRELLIS + "table_bits", value(U32, 5)),
           "size is 16, expected 32", TENSOR),
    Broken("size of a table before it", put(PAIRED + "table_bits", value(U32, 5)),
           "table 5 is i8(16,), expected i8(32,)", FORMAT),
    Broken("type of a table of a trellis", put(TRELLIS + "wide", value(BOOL, 1)),
           "type is 24, expected 25", TENSOR),
    Broken("type of a table before it", put(PAIRED + "wide", value(BOOL, 1)),
           "table 5 is i8(16,), expected i16(16,)", FORMAT),
)  # fmt: skip

PARTS = (
    *(Broken(f"other {key} of a trellis", put(TRELLIS + key, new), message, TENSOR)
      for key, new, message in (
          ("step_bits", value(U32, 3), "size is 66, expected 98"),
          ("state_bits", value(U32, 16), "size is 66, expected 68"),
          ("multipliers", array(U32, [71, 3]), "size is 66, expected 34"),
      )),
    Broken("rotation beyond the columns", put(ROTATED + "rotation", value(U32, 16)),
           "rotation is 16, expected a divisor of 8 columns", FORMAT),
    Broken("rotation of 9 columns", several(put_element("edgecomp.tensor.dims", 24, 1),
           put_element("edgecomp.tensor.dims", 25, 9)),
           "rotation is 4, expected a divisor of 9 columns", FORMAT),
    *(Broken(f"trellis scale {name}", put_data("trellis.a.scales", 2, struct.pack("<H", bits)),
             "scales hold a value outside", FORMAT)
      for name, bits in (("subnormal", 0x0001), ("just subnormal", 0x03FF), ("infinite", 0x7C00),
                         ("not a number", 0x7E00), ("signalling NaN", 0x7C01),
                         ("negative", 0xBC00))),
    *(Broken(f"trellis params {new}", put_data("trellis.b.params", 0, struct.pack("<f", new)),
             "params hold", FORMAT)
      for new in (float("nan"), float("inf"), -1.0, 2.0**-65, 2.0**65)),
    Broken("trellis scale of critical columns",
           put_data("trellis.d.critical_scales", 0, struct.pack("<H", 0x8001)), "scales hold",
           FORMAT),
)  # fmt: skip

BROKEN_TRELLIS = (*PARAMETERS, *TABLES, *PARTS)
