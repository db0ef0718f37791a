"""Reads llama.cpp's imatrix: a GGUF file with sums of squared activations.

For every tensor it holds `<name>.in_sum2`, the sum over tokens of each input's square, and
`<name>.counts`, the number of tokens (one for each expert), both float32; the key `general.type` is
"imatrix" (llama.cpp, tools/imatrix/imatrix.cpp). Every extent is checked before it is read.
"""

from __future__ import annotations

import math
import mmap
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp.calibration.errors import CalibrationError

__all__ = ["SUMS", "TOKENS", "Imatrix", "read_imatrix"]

SUMS = ".in_sum2"
TOKENS = ".counts"
VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # by type
UINT32 = 4
F32 = 0
MAX_DIMS = 4
LEAST_INFO_BYTES = 8 + 4 + 4 + 8  # of a tensor info: name, number of sides, type, offset
LEAST_KEY_BYTES = 8 + 4 + 1


@dataclass(frozen=True)
class Imatrix:
    """What an imatrix says: the mean square of every column, float32 (d_in,), by ggml name."""

    means: Mapping[str, NDArray[np.float32]]
    tokens: int  # the most that any tensor has read
    chunks: int  # 0 where the file does not say


class BrokenError(ValueError):
    """A file that is not an imatrix."""


def read_imatrix(path: Path) -> Imatrix:
    """The imatrix in a GGUF file.

    Raises CalibrationError when the file is something else, damaged, or of a model with experts;
    OSError when it cannot be read.
    """
    if not path.exists():
        raise CalibrationError(f"no statistics at {path}", "edgecomp calibrate makes them")
    if not stat.S_ISREG(path.stat().st_mode):
        raise CalibrationError(f"{path} is not a regular file", "give a folder or an imatrix")
    try:
        with path.open("rb") as file:
            if path.stat().st_size < 24:
                raise BrokenError(f"{path.stat().st_size} bytes, expected at least 24")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return parse(data)
    except BrokenError as error:
        raise CalibrationError(
            f"{path} is not an imatrix: {error}",
            "give a folder of edgecomp calibrate or a GGUF file of llama-imatrix; it converts its "
            "older format: llama-imatrix --in-file OLD -o NEW.gguf",
        ) from error


def parse(data: mmap.mmap) -> Imatrix:
    """The imatrix in a file's bytes; BrokenError when they are not one."""
    magic, version, n_tensors, n_keys = struct.unpack_from("<4sIQQ", data)
    if magic != b"GGUF":
        raise BrokenError("it does not start with GGUF")
    if version not in VERSIONS:
        raise BrokenError(f"GGUF version {version}, expected {VERSIONS[-1]}")
    if n_keys > len(data) // LEAST_KEY_BYTES or n_tensors > len(data) // LEAST_INFO_BYTES:
        raise BrokenError(f"{n_keys} keys and {n_tensors} tensors in {len(data)} bytes")
    cursor = Cursor(data)
    for _ in range(n_keys):
        cursor.key()
    kind = cursor.strings.get("general.type")
    if kind != "imatrix":
        raise BrokenError(f"its general.type is {kind!r}, expected 'imatrix'")
    infos: dict[str, tuple[int, ...]] = {}
    for _ in range(n_tensors):
        name, info = cursor.info()
        if name in infos:
            raise BrokenError(f"tensor {name!r} comes twice")
        infos[name] = info
    start = cursor.aligned()
    arrays = {name: floats(data, name, info, start) for name, info in infos.items()}
    return means_of(arrays, cursor.numbers.get("imatrix.chunk_count", 0))


def floats(
    data: mmap.mmap, name: str, info: tuple[int, ...], start: int
) -> tuple[NDArray[np.float32], int]:
    """A tensor's numbers, and how many matrices they are for (its slower sides)."""
    *sides, kind, offset = info
    if not name.endswith((SUMS, TOKENS)):
        return np.empty(0, np.float32), 0  # such as .in_sum, which is not needed
    count = math.prod(sides)
    if kind != F32:
        raise BrokenError(f"tensor {name!r} has type {kind}, expected {F32} (float32)")
    if count < 1 or start + offset + 4 * count > len(data):
        raise BrokenError(f"tensor {name!r} of {count} numbers does not lie in the file")
    return np.frombuffer(data, "<f4", count, start + offset).copy(), count // sides[0]


def means_of(arrays: Mapping[str, tuple[NDArray[np.float32], int]], chunks: int) -> Imatrix:
    """Sums and counts, divided."""
    means: dict[str, NDArray[np.float32]] = {}
    most = 0
    for name, (sums, matrices) in arrays.items():
        if not name.endswith(SUMS):
            continue
        tensor = name.removesuffix(SUMS)
        if tensor + TOKENS not in arrays:
            raise BrokenError(f"tensor {name!r} comes without {TOKENS}")
        counts = arrays[tensor + TOKENS][0]
        if matrices != 1 or counts.size != 1:
            raise BrokenError(f"tensor {tensor!r} has {max(matrices, counts.size)} experts")
        if not np.isfinite(sums).all() or sums.min() < 0:
            raise BrokenError(f"tensor {name!r} holds a number that is no sum of squares")
        if not 1 <= counts[0] <= 1 << 53:
            raise BrokenError(f"tensor {tensor!r} has read {counts[0]} tokens")
        means[tensor] = (sums.astype(np.float64) / np.float64(counts[0])).astype(np.float32)
        most = max(most, round(float(counts[0])))
    if not means:
        raise BrokenError("it holds no sums of squares")
    return Imatrix(means, most, chunks)


@dataclass
class Cursor:
    """Reads a header from its start; every method raises BrokenError when the bytes end."""

    data: mmap.mmap
    at: int = 24
    strings: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def take(self, n_bytes: int) -> int:
        """Advances by `n_bytes`; returns where they start."""
        start = self.at
        if n_bytes > len(self.data) - start:
            raise BrokenError(f"truncated: {n_bytes} bytes at byte {start} of {len(self.data)}")
        self.at = start + n_bytes
        return start

    def u32(self) -> int:
        """A number of 4 bytes."""
        return int(struct.unpack_from("<I", self.data, self.take(4))[0])

    def u64(self) -> int:
        """A number of 8 bytes."""
        return int(struct.unpack_from("<Q", self.data, self.take(8))[0])

    def string(self) -> str:
        """A text, with replacements where it is not UTF-8."""
        size = self.u64()
        start = self.take(size)
        return self.data[start : start + size].decode(errors="replace")

    def key(self) -> None:
        """Reads a key; strings and 4-byte numbers are kept."""
        name = self.string()
        kind = self.u32()
        if kind == STRING:
            self.strings[name] = self.string()
        elif kind == UINT32:
            self.numbers[name] = self.u32()
        elif kind == ARRAY:
            self.skip_array()
        else:
            self.skip(kind, 1)

    def skip_array(self) -> None:
        """Passes over a flat array."""
        kind = self.u32()
        count = self.u64()
        if kind == STRING:
            if count > len(self.data) // 8:
                raise BrokenError(f"an array of {count} texts in {len(self.data)} bytes")
            for _ in range(count):
                self.take(self.u64())
        else:
            self.skip(kind, count)

    def skip(self, kind: int, count: int) -> None:
        """Passes over numbers."""
        if kind not in SCALAR_BYTES:
            raise BrokenError(f"a key of type {kind}")
        self.take(SCALAR_BYTES[kind] * count)

    def info(self) -> tuple[str, tuple[int, ...]]:
        """A tensor's name; its sides, fastest first, its type and its offset."""
        name = self.string()
        n_dims = self.u32()
        if not 1 <= n_dims <= MAX_DIMS:
            raise BrokenError(f"tensor {name!r} has {n_dims} sides, expected 1..{MAX_DIMS}")
        sides = [self.u64() for _ in range(n_dims)]
        return name, (*sides, self.u32(), self.u64())

    def aligned(self) -> int:
        """Where the data starts."""
        alignment = self.numbers.get("general.alignment", 32)
        if alignment < 1:
            raise BrokenError("an alignment of 0 bytes")
        return -(-self.at // alignment) * alignment
