"""Random changes to the golden container, the same on every run."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from tests.exporters.broken_files import GOLDEN
from tests.exporters.gguf_bytes import take_apart

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
