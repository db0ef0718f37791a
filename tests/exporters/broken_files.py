"""Every way in which a container can be broken; those of its formats are in broken_formats.py."""

from __future__ import annotations

import struct

from exporters.gguf.codecs import COLUMNS, CRVQ
from exporters.gguf.codecs import TRELLIS as TRELLIS_CODEC
from exporters.gguf.spec import FILE_KEYS
from tests.exporters.broken import (
    ADDITIVE,
    GOLDEN,
    GROUPED,
    MAGIC,
    METADATA,
    RAW,
    SPLIT,
    TENSOR,
    TRELLIS,
    TRUNCATED,
    VERSION,
    Broken,
)
from tests.exporters.broken_formats import BROKEN_FORMATS
from tests.exporters.broken_trellis import BROKEN_TRELLIS
from tests.exporters.broken_uniform import BROKEN_UNIFORM
from tests.exporters.changes import (
    add_formats,
    array_head,
    double_architecture,
    double_key,
    fill_head,
    put,
    put_data,
    put_element,
    put_field,
    put_info,
    put_string,
    remove,
    rename_key,
    several,
    shorten,
    string_head,
    swap_infos,
    swap_keys,
    swap_names,
)
from tests.exporters.gguf_bytes import (
    ARRAY,
    BOOL,
    F32,
    STRING,
    U8,
    U32,
    U64,
    array,
    value,
)

STRUCTURE = (
    Broken("magic", put_field("magic", b"GGUK"), "magic", MAGIC),
    Broken("gguf 2", put_field("version", 2), "GGUF version: 2", VERSION),
    Broken("big endian", put_field("version", 3 << 24), "GGUF version", VERSION),
    Broken("keys", put_field("n_pairs", 1 << 63), "number of keys", METADATA),
    Broken("gguf tensors", put_field("n_infos", 1 << 63), "number of GGUF tensors", TENSOR),
    Broken("empty key", rename_key("edgecomp.writer", b""), "expected printable", METADATA),
    Broken(
        "key with a space", rename_key("edgecomp.writer", b"edgecomp.x y"), "printable", METADATA
    ),
    Broken("key not ASCII", rename_key("edgecomp.writer", "ä".encode()), "printable", METADATA),
    Broken("long key", rename_key("edgecomp.writer", b"k" * 256), "at most 255", METADATA),
    Broken("type 13", put("edgecomp.model.layers", struct.pack("<I", 13)), "type 13", METADATA),
    Broken(
        "type 2**31",
        put("edgecomp.model.layers", struct.pack("<I", 1 << 31)),
        "type 2147483648",
        METADATA,
    ),
    Broken("array of 13", put("edgecomp.model.sides", array_head(13, 1)), "type 13", METADATA),
    Broken("array of 256", put("edgecomp.model.sides", array_head(256, 1)), "type 256", METADATA),
    Broken("array of arrays", put("edgecomp.model.sides", array_head(ARRAY, 1)), "flat", METADATA),
    Broken(
        "long string",
        put("edgecomp.settings", string_head((1 << 24) + 1)),
        "string of 16777217 bytes",
        METADATA,
    ),
    Broken(
        "huge string",
        put("edgecomp.settings", string_head((1 << 64) - 1)),
        "string of 18446744073709551615 bytes",
        METADATA,
    ),
    Broken(
        "string beyond the file",
        put("edgecomp.settings", string_head(1 << 24)),
        "expected to end by",
        TRUNCATED,
    ),
    Broken(
        "long array",
        put("edgecomp.model.sides", array_head(U8, (1 << 20) + 1)),
        "array of 1048577",
        METADATA,
    ),
    Broken(
        "huge array",
        put("edgecomp.model.sides", array_head(U64, 1 << 61)),
        "array of 2305843009213693952",
        METADATA,
    ),
    Broken(
        "array beyond the file",
        put("edgecomp.model.sides", array_head(U64, 1 << 20)),
        "expected to end by",
        TRUNCATED,
    ),
    Broken(
        "strings beyond the file",
        put("tokenizer.ggml.tokens", array_head(STRING, 1 << 20)),
        "key tokenizer.ggml.tokens",
        METADATA,
    ),
    Broken("truth value 2", put("edgecomp.model.tied", value(BOOL, 2)), "truth value 2", METADATA),
    Broken(
        "truth values",
        put("edgecomp.model.tied", array(BOOL, [0, 1, 255])),
        "truth value 255",
        METADATA,
    ),
    Broken("padding of the header", fill_head, "tensor infos: padding", TENSOR),
)

UTF8 = tuple(
    Broken(f"UTF-8 {raw.hex()} in {where}", change(raw), "is not UTF-8", METADATA)
    for raw in (b"\x80", b"\xc3", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xed\xa0\x80",
    b"\xe2\x82",
                b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff", b"\xc3\x28")
    for where, change in (
        ("a string", lambda raw: put("edgecomp.model.architecture", value(STRING, b"a" + raw))),
        ("an array", lambda raw: put("tokenizer.ggml.tokens", array(STRING, [b"a", raw + b"a"]))),
    )
)  # fmt: skip

KEYS = (
    *(Broken(f"without {key}", remove(key), "general.architecture" if key == "general.architecture"
             else f"key {key}: missing", METADATA) for key in FILE_KEYS),
    *(Broken(f"type of {key}", put(key, value(U8, 1)), f"key {key}: type u8", METADATA)
      for key in FILE_KEYS),
    *(Broken(f"without {key}", remove(GROUPED + key), f"{GROUPED}{key}: missing", METADATA)
      for key in ("classes", "points", "shift", "centre", "codec")),
    Broken("type of dims", put("edgecomp.tensor.dims", value(U8, 1)), "dims: type u8", METADATA),
    Broken("type of dim", put(GROUPED + "dim", value(U64, 1)), "dim: type u64", METADATA),
    Broken("type of generator", put(GROUPED + "generator", array(U64, [1])), "array of u64",
           METADATA),
    Broken("architecture", put("general.architecture", value(STRING, b"llama")), "'llama'",
           METADATA),
    Broken("architecture twice", double_architecture, "first and once", METADATA),
    Broken("type of codec", put(RAW + "codec", value(U8, 1)), "codec: type u8", METADATA),
    Broken("keys of another codec", put(GROUPED + "codec", value(STRING, b"raw")), "dtype: missing",
           METADATA),
    Broken("keys of a winding", put(RAW + "codec", value(STRING, b"winding")), "centre: missing",
           METADATA),
    Broken("unknown first format key", put(RAW + "aaa", value(U8, 1)), "not known", METADATA),
    Broken("order of keys", swap_keys, "expected ascending keys", METADATA),
    Broken("key twice", double_key, "expected ascending keys", METADATA),
    Broken("version 2", put("edgecomp.format_version", value(U32, 2)), "version: 2, expected 1",
           VERSION),
    Broken("version 2 with another codec",
           several(put("edgecomp.format_version", value(U32, 2)),
           put(GROUPED + "codec", value(STRING, b"ternary"))), "version: 2, expected 1", VERSION),
    Broken("version 2 with other keys",
           several(put("edgecomp.format_version", value(U32, 2)),
           put("edgecomp.new", value(U8, 1))),
           "version: 2, expected 1", VERSION),
    Broken("unknown key", put("edgecomp.zzz", value(U8, 1)), "key edgecomp.zzz: not known",
           METADATA),
    Broken("unknown tensor key", put("edgecomp.tensor.bits", value(U8, 1)), "not known", METADATA),
    Broken("unknown format key", put(GROUPED + "bits", value(U8, 1)), "not known", METADATA),
    Broken("unknown last format key", put(GROUPED + "zzz", value(U8, 1)), "not known", METADATA),
    Broken("key of a format that is not there",
           put("edgecomp.format.99.codec", value(STRING, b"raw")),
           "edgecomp.format.99.codec: not known", METADATA),
    Broken("format with a leading zero", put("edgecomp.format.00.codec", value(STRING, b"raw")),
           "edgecomp.format.00.codec: not known", METADATA),
    Broken("alignment", put("general.alignment", value(U32, 64)), "alignment: 64, expected 32",
           METADATA),
    Broken("type of alignment", put("general.alignment", value(U64, 32)), "type u64", METADATA),
    Broken("no formats", put("edgecomp.format.count", value(U32, 0)), "count: 0", METADATA),
    Broken("fewer formats", put("edgecomp.format.count", value(U32, 15)), "not known", METADATA),
    Broken("more formats", put("edgecomp.format.count", value(U32, 17)), "missing", METADATA),
    Broken("many formats", put("edgecomp.format.count", value(U32, 1 << 31)), "1..2048", METADATA),
    Broken("2049 formats", add_formats(3, 2033), "1..2048", METADATA),
    *(Broken(f"without {key}", remove(key), f"{key}: missing", METADATA)
      for prefix, codec in ((ADDITIVE, CRVQ), (SPLIT, COLUMNS), (TRELLIS, TRELLIS_CODEC))
      for key in (prefix + last for last in (*codec.keys, "codec"))),
    *(Broken(f"type of {key}", put(key, value(U8, 1)), f"{key}: type u8", METADATA)
      for prefix, codec in ((ADDITIVE, CRVQ), (SPLIT, COLUMNS), (TRELLIS, TRELLIS_CODEC))
      for key in (prefix + last for last in (*codec.keys, "codec"))),
)  # fmt: skip

T = "edgecomp.tensor."
TENSORS = (
    *(Broken(f"one of {key} too few", shorten(T + key), "values, expected", METADATA)
      for key in ("data_offsets", "dims", "error_bounds", "formats", "n_dims", "names", "sha256")),
    Broken("no tensors", put(T + "names", array(STRING, [])), "number of tensors: 0", METADATA),
    Broken("many tensors", put(T + "names", array(STRING, [b""] * 32769)), "tensors: 32769",
           METADATA),
    Broken("dims without sides", remove(T + "dims"), "dims: 0 values", METADATA),
    Broken("order of names", swap_names, "expected ascending names", METADATA),
    Broken("name twice", put_string(T + "names", 1, b"layers.0.weight"), "ascending", METADATA),
    Broken("empty name", put_string(T + "names", 0, b""), "0 bytes, expected 1..255", METADATA),
    Broken("long name", put_string(T + "names", 5, b"z" * 256), "256 bytes", METADATA),
    *(Broken(f"name {name!r}", put_string(T + "names", 5, name), "control character", METADATA)
      for name in (b"z\x1b[2J", b"z\x00", b"z\x7f", b"z\xc2\x80", b"z\xc2\x9f")),
    Broken("substitute name", put_string(T + "names", 0, b"#1"), "starts with '#'", METADATA),
    Broken("format 16", put_element(T + "formats", 0, 16), "format 16, expected less than 16",
           METADATA),
    Broken("format 2**32-1", put_element(T + "formats", 0, (1 << 32) - 1), "less than 16",
           METADATA),
    Broken("9 dims", several(put_element(T + "n_dims", 0, 9),
           put(T + "dims", array(U64, [1] * 36))),
           "9 dimensions", TENSOR),
    Broken("n_dims overflow", put_element(T + "n_dims", 0, (1 << 32) - 1), "values, expected",
           METADATA),
    Broken("side 0", put_element(T + "dims", 0, 0), "empty side", TENSOR),
    Broken("side 2**40+1", put_element(T + "dims", 0, (1 << 40) + 1), "more than", TENSOR),
    Broken("sides overflow", several(put_element(T + "dims", 0, 1 << 40),
           put_element(T + "dims", 1, 1 << 40)),
           "more than", TENSOR),
    Broken("side 2**64-1", put_element(T + "dims", 2, (1 << 64) - 1), "more than", TENSOR),
    Broken("other shape", put_element(T + "dims", 0, 3), "size is 15, expected 23", TENSOR),
    *(Broken(f"error bound {bound}", put(T + "error_bounds", array(F32, [0, 0, bound] + [0] * 13)),
             "error_bound", METADATA) for bound in (float("nan"), float("inf"), -1.0)),
    Broken("digest in capitals", put_string(T + "sha256", 1, b"A" * 64), "64 hex digits", METADATA),
    Broken("short digest", put_string(T + "sha256", 1, b"a" * 63), "64 hex digits", METADATA),
    Broken("long digest", put_string(T + "sha256", 1, b"a" * 64 + b"\n"), "64 hex digits",
           METADATA),
    Broken("data offset", put_element(T + "data_offsets", 2, 0), "data offset 0, expected", TENSOR),
    Broken("huge data offset", put_element(T + "data_offsets", 5, (1 << 64) - 32), "data offset",
           TENSOR),
)  # fmt: skip

CODES = "layers.0.weight.codes"
PAYLOADS = (
    Broken("name of a payload", put_info(CODES, "name", b"layers.0.weight.code"), "name is",
           TENSOR),
    Broken("name of a substitute", put_info("#3.codes", "name", b"#4.codes"),
           "name is '#4.codes'", TENSOR),
    Broken("long name of a payload", put_info(CODES, "name", b"n" * 64), "at most 63", TENSOR),
    Broken("order of payloads", swap_infos(CODES), "name is", TENSOR),
    Broken("no dims", put_info(CODES, "dims", []), "0 dimensions, expected 1", TENSOR),
    Broken("2 dims", put_info(CODES, "dims", [15, 1]), "2 dimensions, expected 1", TENSOR),
    Broken("2**32-1 dims", put_info(CODES, "dims", [1] * 1000), "1000 dimensions", TENSOR),
    Broken("type of a payload", put_info(CODES, "type", 0), "type is 0, expected 24", TENSOR),
    Broken("unknown type", put_info(CODES, "type", 1 << 31), "type is 2147483648", TENSOR),
    Broken("size of a payload", put_info(CODES, "dims", [16]), "size is 16, expected 15", TENSOR),
    Broken("huge payload", put_info(CODES, "dims", [1 << 63]), "size is 9223372036854775808",
           TENSOR),
    Broken("hole", put_info("layers.1.weight.scales", "offset", 384), "offset is 384", TENSOR),
    Broken("overlap", put_info("layers.1.weight.scales", "offset", 0), "offset is 0", TENSOR),
    Broken("one payload too few", lambda file: file.infos.pop(), "missing", TENSOR),
    Broken("one payload too many", lambda file: file.infos.append(file.infos[-1]),
           "63 GGUF tensors",
           TENSOR),
    Broken("padding of a payload", put_data("layers.0.weight.scales", 4, b"\x01"),
           "padding at byte",
           TENSOR),
    Broken("byte behind the end", lambda file: setattr(file, "data", file.data + b"\x00"),
           "bytes, expected", TENSOR),
    Broken("block behind the end", lambda file: setattr(file, "data", file.data + bytes(32)),
           "bytes, expected", TENSOR),
    Broken("no padding at the end", lambda file: setattr(file, "data", file.data[:-24]),
           "padding ends",
           TRUNCATED),
    Broken("no data", lambda file: setattr(file, "data", b""), "expected to end by", TRUNCATED),
)  # fmt: skip

BROKEN_FILES = (
    *STRUCTURE, *UTF8, *KEYS, *BROKEN_FORMATS, *BROKEN_TRELLIS, *BROKEN_UNIFORM, *TENSORS, *PAYLOADS
)  # fmt: skip


def truncations() -> list[bytes]:
    """The golden container cut off at every fifth length, in fields as well as between them."""
    file = GOLDEN.read_bytes()
    return [file[:n] for n in range(0, len(file), 5)]
