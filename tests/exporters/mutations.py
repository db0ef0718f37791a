"""Random changes to the golden container: the same on every run, or new ones by hypothesis."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st

from tests.exporters.broken import GOLDEN
from tests.exporters.gguf_bytes import (
    ARRAY,
    BOOL,
    F32,
    STRING,
    U32,
    U64,
    GGUFBytes,
    array,
    take_apart,
    value,
)
from tests.exporters.uniform_container import uniform_file

N_MUTANTS = 10_000
SEED = 2
NUMBERS = (0, 1, 2, 31, 32, 255, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 63)
NUMBERS += ((1 << 64) - 32, (1 << 64) - 1)


def mutants() -> Iterator[bytes]:
    """N_MUTANTS files, each with one or two changes."""
    random = np.random.default_rng(SEED)
    golden = GOLDEN.read_bytes()
    for _ in range(N_MUTANTS):
        in_field = random.random() < 0.5
        file = _changed_field(golden, random) if in_field else golden
        for _ in range(random.integers(1 - in_field, 3)):
            file = _changed_bytes(file, random)
        yield file


def _changed_bytes(file: bytes, random: np.random.Generator) -> bytes:
    """One change that knows nothing of the format; one in eight leaves the file as it is."""
    at = int(random.integers(0, max(len(file) - 8, 1)))
    removed, new = 0, b""
    match random.integers(0, 8):
        case 0:
            removed, new = 1, bytes([file[at] ^ 1 << random.integers(0, 8)])
        case 1:
            removed, new = 1, random.bytes(1)
        case 2:
            number = NUMBERS[random.integers(0, len(NUMBERS))]
            new = struct.pack("<Q", number)[: 4 << random.integers(0, 2)]
            removed = len(new)
        case 3:
            removed = int(random.integers(1, 64))
        case 4:
            new = random.bytes(int(random.integers(1, 64)))
        case 5:
            start, size = random.integers(0, len(file)), random.integers(1, 64)
            new = file[start : start + size]
            removed = len(new)
        case 6:
            removed, new = len(file), bytes(1)
    return file[:at] + new + file[at + removed :]


def _changed_field(file: bytes, random: np.random.Generator) -> bytes:
    """A file of sound structure with one field changed: a value, a key, an info or the data."""
    parts = take_apart(file)
    keys = [*parts.pairs]
    key = keys[random.integers(0, len(keys))]
    info = parts.infos[random.integers(0, len(parts.infos))]
    match random.integers(0, 6):
        case 0:
            raw = bytearray(parts.pairs[key])
            raw[random.integers(4, len(raw))] ^= int(random.integers(1, 256))
            parts.pairs[key] = bytes(raw)
        case 1:
            parts.pairs[key] = parts.pairs[keys[random.integers(0, len(keys))]]
        case 2:
            del parts.pairs[key]
        case 3:
            info.dims = [int(random.integers(0, 64))]
        case 4:
            info.offset = int(random.integers(0, 16)) * 32
        case 5:
            at = int(random.integers(0, len(parts.data)))
            parts.data = parts.data[:at] + random.bytes(1) + parts.data[at + 1 :]
    return parts.build()


@st.composite
def fresh_mutants(draw: st.DrawFn) -> bytes:
    """The golden file or that of group integers with one to three changes to its fields.

    Some have two changes to their bytes as well.
    """
    parts = take_apart(draw(st.sampled_from([GOLDEN.read_bytes(), uniform_file()])))
    for _ in range(draw(st.integers(1, 3))):
        draw(st.sampled_from([_draw_data, _draw_number, _draw_value, _draw_info]))(draw, parts)
    file = parts.build()
    for _ in range(draw(st.sampled_from([0, 0, 0, 2]))):
        at = draw(st.integers(0, len(file)))
        removed = draw(st.integers(0, 16))
        file = file[:at] + draw(st.binary(max_size=16)) + file[at + removed :]
    return file


def _draw_number(draw: st.DrawFn, parts: GGUFBytes) -> None:
    """Another number where a parameter of a format, or of a tensor, has one, mostly a small one."""
    kinds = {struct.pack("<I", U32): 4, struct.pack("<II", ARRAY, U32): 16}
    heads = {key: raw[:4] if raw[0] == U32 else raw[:8] for key, raw in parts.pairs.items()}
    ours = [key for key in heads if key.startswith(b"edgecomp.") and heads[key] in kinds]
    keys = [key for key in ours if len(parts.pairs[key]) > kinds[heads[key]]]
    key = draw(st.sampled_from(keys))
    raw, start = parts.pairs[key], kinds[heads[key]]
    at = draw(st.integers(0, (len(raw) - start) // 4 - 1)) * 4 + start
    new = draw(st.integers(0, 16) | st.integers(0, (1 << 32) - 1))
    parts.pairs[key] = raw[:at] + struct.pack("<I", new) + raw[at + 4 :]


def _draw_value(draw: st.DrawFn, parts: GGUFBytes) -> None:
    """Another value for a key, of any type."""
    key = draw(st.sampled_from([*parts.pairs]))
    contents = {
        U32: st.integers(0, (1 << 32) - 1) | st.integers(0, 32),
        U64: st.integers(0, (1 << 64) - 1),
        F32: st.floats(width=32),
        BOOL: st.integers(0, 2),
        STRING: st.binary(max_size=80)
        | st.sampled_from(
            [b"raw", b"winding", b"crvq", b"trellis", b"uniform", b"columns", b"f16"]
        ),
    }
    gguf_type = draw(st.sampled_from([*contents]))
    if draw(st.booleans()):
        parts.pairs[key] = value(gguf_type, draw(contents[gguf_type]))
    else:
        parts.pairs[key] = array(gguf_type, draw(st.lists(contents[gguf_type], max_size=8)))


def _draw_info(draw: st.DrawFn, parts: GGUFBytes) -> None:
    """Another size, type or offset for a payload."""
    info = draw(st.sampled_from(parts.infos))
    match draw(st.integers(0, 2)):
        case 0:
            info.dims = [draw(st.integers(0, 64) | st.integers(0, (1 << 64) - 1))]
        case 1:
            info.type = draw(st.sampled_from([0, 1, 24, 25, 30]))
        case 2:
            info.offset = 32 * draw(st.integers(0, 16))


def _draw_data(draw: st.DrawFn, parts: GGUFBytes) -> None:
    """Other bytes for a part of a payload: any weight, code or scale, NaN among them."""
    info = draw(st.sampled_from(parts.infos))
    new = draw(st.binary(min_size=1, max_size=16))
    at = info.offset + draw(st.integers(0, 16))
    parts.data = parts.data[:at] + new + parts.data[at + len(new) :]
