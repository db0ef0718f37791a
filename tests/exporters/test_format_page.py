"""docs/format.md, the Python reader and the C reader state the same keys and limits."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from exporters.gguf import spec
from exporters.gguf.codecs import CODECS
from exporters.gguf.spec import (
    DIMS_KEY,
    DIMS_KIND,
    FILE_KEYS,
    PAYLOAD_TYPES,
    STRING,
    GGUFType,
    Kind,
)
from runtime_ops import reference
from runtime_ops.formats import (
    CrvqFormat,
    EncodedTensor,
    Table,
    TrellisFormat,
    UniformFormat,
    columns,
    crvq,
    part,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "format.md").read_text()
C_HEADERS = "".join(
    (ROOT / "runtime_ops" / "csrc" / name).read_text()
    for name in (
        "edgecomp.h",
        "container/gguf.h",
        "container/container_keys.h",
        "container/container_codecs.h",
        "container/container_codecs.c",
        "container/container.c",
    )
)
LIMITS = {
    "bytes before D": spec.MAX_HEADER_BYTES,
    "keys": spec.MAX_KEYS,
    "bytes of a key": spec.MAX_KEY_BYTES,
    "bytes of a string": spec.MAX_STRING_BYTES,
    "elements of an array": spec.MAX_ARRAY,
    "formats": spec.MAX_FORMATS,
    "bytes of tables": spec.MAX_TABLE_BYTES,
    "tensors": spec.MAX_TENSORS,
    "bytes of a tensor's name": spec.MAX_NAME_BYTES,
    "sides": part.MAX_DIMS,
    "weights of a tensor": part.MAX_WEIGHTS,
    "columns of a permutation": columns.MAX_PERMUTED,
}
C_LIMITS = {
    "EC_GGUF_MAX_HEADER": spec.MAX_HEADER_BYTES,
    "EC_GGUF_MAX_KEYS": spec.MAX_KEYS,
    "EC_GGUF_MAX_KEY_BYTES": spec.MAX_KEY_BYTES,
    "EC_GGUF_MAX_STRING_BYTES": spec.MAX_STRING_BYTES,
    "EC_GGUF_MAX_ARRAY": spec.MAX_ARRAY,
    "EC_GGUF_MAX_NAME_BYTES": spec.MAX_PAYLOAD_NAME_BYTES,
    "EC_GGUF_HEADER_BYTES": spec.HEADER_BYTES,
    "EC_GGUF_ALIGNMENT": spec.ALIGNMENT,
    "EC_CONTAINER_MAX_FORMATS": spec.MAX_FORMATS,
    "EC_CONTAINER_MAX_TABLE_BYTES": spec.MAX_TABLE_BYTES,
    "EC_CONTAINER_MAX_TENSORS": spec.MAX_TENSORS,
    "MAX_TENSOR_NAME_BYTES": spec.MAX_NAME_BYTES,
    "EC_MAX_DIMS": part.MAX_DIMS,
    "EC_MAX_STAGES": crvq.MAX_STAGES,
    "MAX_PERMUTED": columns.MAX_PERMUTED,
}


def section(title: str) -> list[list[str]]:
    """The cells of the table rows under a heading."""
    body = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S)
    assert body is not None, title
    rows = [row for row in body[1].split("\n") if row.startswith("|") and "---" not in row]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def number(text: str) -> int:
    """A plain number or a power of two, as the page and the headers write them."""
    match = re.fullmatch(r"(\d+)|2\^(\d+)|\(?UINT\d+_C\(1\) << (\d+)\)?", text)
    assert match is not None, text
    return int(match[1]) if match[1] else 1 << int(match[2] or match[3])


def kind_text(kind: Kind) -> str:
    outer, element = kind
    return outer.name.lower() if element is None else f"array of {element.name.lower()}"


def test_limits_of_the_page() -> None:
    assert {row[0]: number(row[1]) for row in section("Limits")[1:]} == LIMITS


def test_limits_of_the_c_reader() -> None:
    defines = dict(re.findall(r"^#define (\w+) ([^/\n]*?) *(?:/\*.*)?$", C_HEADERS, flags=re.M))
    assert {name: number(defines[name]) for name in C_LIMITS} == C_LIMITS


def test_keys_of_the_page() -> None:
    free = ("edgecomp.model.", "edgecomp.format.<i>", "tokenizer.", "general.alignment")
    rows = {row[0].strip("`"): re.sub(r", T$", "", row[1]) for row in section("Keys")[1:]}
    stated = {key: kind for key, kind in rows.items() if not key.startswith(free)}
    keys = {**FILE_KEYS, DIMS_KEY: DIMS_KIND}
    assert stated == {key: kind_text(kind) for key, kind in keys.items()}


def test_formats_of_the_page() -> None:
    stated: dict[str, dict[str, str]] = {}
    for codec, key, kind, _ in section("Formats")[1:]:
        if codec:
            keys = stated.setdefault(codec.strip("`"), {})
        keys[key.strip("`")] = kind.split(",")[0]
    assert stated == {
        name: {key: kind_text(kind) for key, kind in {"codec": STRING, **codec.keys}.items()}
        for name, codec in CODECS.items()
    }


def test_parts_of_the_page_and_of_the_c_reader() -> None:
    stated: dict[str, tuple[str, ...]] = {}
    for codec, name_of_part, *_ in section("Payloads")[1:]:
        name = codec.split(",")[0]
        stated[name] = (*stated.get(name, ()), name_of_part.strip("`"))
    parts = {name: codec.parts for name, codec in CODECS.items() if codec.parts}
    assert stated == parts
    numbers = re.findall(r"EC_([A-Z]+)_PARTS = (\d+)", C_HEADERS)
    assert {name.lower(): int(n) for name, n in numbers} == {
        name: len(names) for name, names in parts.items()
    }


def test_tables_of_the_page() -> None:
    """The keys that name a table, and the type that each is stored in."""
    fields = {"levels": 3, "dim": 2, "code_bits": 1, "shifts": [0], "columns": 7, "table_bits": 4}
    expected = {
        f"{name} {codec.table_key.name}": {
            PAYLOAD_TYPES[codec.table_key.spec({**fields, "wide": wide}).dtype].name.lower()
            for wide in (False, True)
        }
        for name, codec in CODECS.items()
        if codec.table_key is not None
    }
    stated = {
        f"{codec} {key.strip('`')}": set(re.findall(r"\bi\d+", kind))
        for codec, key, kind, *_ in section("Tables")[1:]
    }
    assert stated == expected


def test_example_of_crvq() -> None:
    """The weights that the page states, from the numbers that it states them for."""
    example = re.search(r"Example: dim 2, code_bits 1,.*?\.\n\n", PAGE, flags=re.S)
    assert example is not None
    numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", example[0])]
    assert numbers == [2, 1, -128, -1, 3, 127, 2, 0.5, 0.25, 1, 1, 0, 12, 508, -512, 1.5, 63.5, -64]
    table = Table.of(np.array([-128, -1, 3, 127], np.int8))
    parts = {
        "codes": np.array([1], np.uint8),
        "scales": np.array([0.25], np.float16),
        "params": np.array([0.5], np.float32),
    }
    tensor = EncodedTensor(CrvqFormat(2, 1, (), (2,), table), (1, 3), parts)
    assert reference.decode(tensor).tolist() == [numbers[-3:]]


def test_example_of_trellis() -> None:
    """The sizes, weights and inputs that the page states, from the parameters that it states."""
    example = re.search(r"Example: a matrix of 20 rows.*?\n\n", PAGE, flags=re.S)
    assert example is not None
    numbers = [float(n) for n in re.findall(r"(?<!-)-?\b\d+(?:\.\d+)?", example[0])]
    rows, columns, state_bits, step_bits, multiplier, fold, table_bits, rotation, seed = map(
        int, numbers[:9]
    )
    table = np.arange(-120, 136, 16, dtype=np.int8)
    assert len(table) == 1 << table_bits
    fmt = TrellisFormat(
        state_bits, step_bits, (multiplier,), Table.of(table), fold, rotation, seed
    )  # fmt: skip
    shape = rows, columns
    sizes = [spec.size * spec.dtype.itemsize for spec in fmt.part_specs(shape)]
    bands, tiles = fmt.tiles(shape)
    stated = [bands, tiles, fmt.steps_per_tile, fmt.tile_bytes, fmt.tail_bytes, *sizes]
    assert numbers[9:17] == stated
    codes = np.zeros(sizes[0], np.uint8)
    codes[:2] = numbers[17:19]
    parts = {
        "codes": codes,
        "scales": np.full(rows, 0.5, np.float16),
        "params": np.array([0.25], np.float32),
    }
    states = reference.trellis_states(fmt, parts, shape)[0, :2]
    folded = states ^ states >> fold
    angles = folded * multiplier % 256
    entries = angles >> 4
    first, second = np.stack([states, folded, angles], axis=1).tolist()
    assert numbers[19:27] == [0, *first, 1, *second]
    assert numbers[27:30] == table[[0, 1, -1]].tolist()
    values = table[entries].tolist()
    assert numbers[30:36] == [entries[0], values[0], 0, entries[1], values[1], 16]
    assert fmt.order[:2].tolist() == [0, 16]
    stored = reference.stored_matrix(fmt, parts, shape)
    assert numbers[36:40] == [0.5, 0.25, stored[0, 0], stored[4, 0]]
    signs, x = reference.signs(fmt, 4), np.array([[1, 2, 3, 4]], np.float32)
    once = reference.hadamard(x * signs, 2)
    steps = [signs, x, x * signs, once, reference.rotate(fmt, x)]
    assert numbers[40:] == [n for step in steps for n in step.reshape(-1).tolist()]


def test_example_of_uniform() -> None:
    """The sizes and weights that the page states, from the parameters that it states."""
    example = re.search(r"Example: a matrix of 12 rows.*?\n\n", PAGE, flags=re.S)
    assert example is not None
    numbers = [float(n) for n in re.findall(r"(?<!\w)-?\d+(?:\.\d+)?", example[0])]
    rows, columns, bits, group = map(int, numbers[:4])
    fmt, shape = UniformFormat(bits, group), (rows, columns)
    specs = fmt.part_specs(shape)
    sizes = [spec.size * spec.dtype.itemsize for spec in specs]
    assert numbers[4:10] == [fmt.bands(shape), fmt.tiles(shape), fmt.tile_bytes, *sizes]
    byte, code = map(int, numbers[10:12])
    codes, scales = np.zeros(specs[0].size, np.uint8), np.zeros(specs[1].size, np.float16)
    codes[byte] = code
    places = divmod(byte, 4), divmod(byte + 32, 4)
    scales[[places[0][0], places[1][0]]] = numbers[22:24]
    parts = {"codes": codes, "scales": scales, "params": np.array(numbers[24:25], np.float32)}
    values = reference.uniform_values(fmt, parts, shape)
    stated = [[code & 15, byte, *places[0], values[places[0]]]]
    stated += [[code >> 4, byte + 32, *places[1], values[places[1]]]]
    assert [numbers[12:17], numbers[17:22]] == stated
    weights = reference.decode(EncodedTensor(fmt, shape, parts))
    assert numbers[25:] == [weights[place] for place in places]


def test_when_products_go_by_tables() -> None:
    rule = re.search(r"dim (\d+), code_bits (\d+) and at least (\d+) rows", PAGE)
    assert rule is not None
    expected = (crvq.TABLE_DIM, crvq.TABLE_CODE_BITS, crvq.TABLE_ROWS)
    assert tuple(map(int, rule.groups())) == expected


def test_types_of_the_page() -> None:
    listed = re.search(r"Types are GGUF's: (.*?)\. A bool", PAGE, flags=re.S)
    assert listed is not None
    names = {int(n): name for n, name in re.findall(r"(\d+) (\w+)", listed[1])}
    assert names == {int(t): t.name.lower() for t in GGUFType}
