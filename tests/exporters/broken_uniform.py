"""Every way in which uniform formats of a container can be broken."""

from __future__ import annotations

import struct

from exporters.gguf.codecs import UNIFORM
from tests.exporters.broken import FORMAT, METADATA, TENSOR, Broken
from tests.exporters.changes import Change, put, put_data, put_element, put_info, remove
from tests.exporters.gguf_bytes import U8, U32, U64, value
from tests.exporters.uniform_container import uniform_file

FOUR, EIGHT, TWO = (f"edgecomp.format.{i}." for i in (0, 3, 4))
LARGEST = (1 << 32) - 1
DIMS = "edgecomp.tensor.dims"


def broken(name: str, change: Change, message: str, status: int) -> Broken:
    return Broken(f"uniform: {name}", change, message, status, uniform_file)


KEYS = (
    *(broken(f"without {key}", remove(FOUR + key), f"{key}: missing", METADATA)
      for key in (*UNIFORM.keys, "codec")),
    *(broken(f"{key} of type {kind}", put(FOUR + key, value(kind, 4)), f"{key}: type u", METADATA)
      for key in UNIFORM.keys for kind in (U8, U64)),
    broken("key of another codec", put(FOUR + "table", value(U32, 0)), "not known", METADATA),
)  # fmt: skip

PARAMETERS = (
    *(broken(f"bits {new}", put(TWO + "bits", value(U32, new)),
             f"bits is {new}, expected one of (2, 4, 8)", FORMAT)
      for new in (0, 1, 3, 5, 6, 7, 16, LARGEST)),
    *(broken(f"group {new}", put(TWO + "group", value(U32, new)),
             f"group is {new}, expected a multiple of 32 up to 65536", FORMAT)
      for new in (0, 1, 16, 31, 33, 48, (1 << 16) + 32, 1 << 31, LARGEST)),
)  # fmt: skip

PARTS = (
    broken("other bits", put(FOUR + "bits", value(U32, 8)), "size is 32, expected 64", TENSOR),
    broken("other group", put(TWO + "group", value(U32, 64)), "size is 96, expected 64", TENSOR),
    broken("other columns", put_element(DIMS, 3, 9), "size is 128, expected 192", TENSOR),
    broken("other rows", put_element(DIMS, 2, 17), "size is 128, expected 256", TENSOR),
    broken("2**40 rows", put_element(DIMS, 9, (1 << 40) // 66), "size is 544, expected", TENSOR),
    broken("2**40 columns", put_element(DIMS, 10, (1 << 40) // 17), "expected", TENSOR),
    *(broken(f"type of {name}", put_info(f"two.{name}", "type", kind), "type is", TENSOR)
      for name, kind in (("codes", 1), ("scales", 24), ("params", 1))),
    *(broken(f"scale {name}", put_data("two.scales", 2, struct.pack("<H", bits)),
             "scales hold a value outside", FORMAT)
      for name, bits in (("subnormal", 0x0001), ("just subnormal", 0x03FF), ("infinite", 0x7C00),
                         ("not a number", 0x7E00), ("signalling NaN", 0x7C01),
                         ("negative", 0xBC00))),
    *(broken(f"scale {number} of {name} beyond the rows",
             put_data(f"{name}.scales", 2 * number, struct.pack("<H", 0x3C00)),
             "uniform: scales beyond the rows are not 0", FORMAT)
      for name, number in (("two", 49), ("two", 95), ("four", 97), ("four", 111), ("four", 143),
                           ("scalar", 1), ("split", 15))),
    broken("scale of critical columns beyond the rows",
           put_data("critical.critical_scales", 6, struct.pack("<H", 0x3C00)),
           "uniform: scales beyond the rows are not 0", FORMAT),
    broken("scale of critical columns",
           put_data("critical.critical_scales", 0, struct.pack("<H", 0x8001)), "scales hold",
           FORMAT),
    *(broken(f"params {new}", put_data("eight.params", 0, struct.pack("<f", new)), "params hold",
             FORMAT)
      for new in (float("nan"), float("inf"), -1.0, 2.0**-65, 2.0**65)),
)  # fmt: skip

BROKEN_UNIFORM = (*KEYS, *PARAMETERS, *PARTS)
