"""One safetensors file: its header, and its weights in pieces.

Read with plain file calls, so that a shard of any size costs the memory of one piece (mapped pages
would count as resident) and bfloat16 needs no torch.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["CheckpointError", "TensorEntry", "TensorSource", "read_header"]

MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
MAX_SIDE = 1 << 62
MAX_DIMS = 64
LFS_POINTER = b"version "  # the first bytes of what git leaves in place of a file
# The bytes of one element in every dtype of the format that has whole bytes.
DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "I16": 2,
    "F16": 2, "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
FILE_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class CheckpointError(ValueError):
    """A model that cannot be read; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where a tensor lies: `offset` counts bytes from the start of the file `shard`."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # as the format names it: F32, F16, BF16, ...
    shard: Path
    offset: int

    @property
    def n_weights(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Bytes in the file."""
        return self.n_weights * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class TensorSource:
    """The weights behind an entry of dtype F32, F16 or BF16 (a `WeightSource`)."""

    entry: TensorEntry

    @property
    def shape(self) -> tuple[int, ...]:
        """Sides, slowest first."""
        return self.entry.shape

    def read(self, first: int, count: int) -> NDArray[np.float32]:
        """Weights first .. first + count - 1 in C order, exactly, float32 (count,)."""
        dtype = np.dtype(FILE_DTYPES[self.entry.dtype])
        with self.entry.shard.open("rb") as file:
            file.seek(self.entry.offset + first * dtype.itemsize)
            stored = np.fromfile(file, dtype, count)
        if stored.size != count:
            raise CheckpointError(
                f"{self.entry.shard}: ended inside tensor {self.entry.name}",
                "the file changed while it was read; start again",
            )
        if self.entry.dtype == "BF16":
            return (stored.astype(np.uint32) << 16).view(np.float32)
        return stored.astype(np.float32, copy=False)


def read_header(path: Path) -> dict[str, TensorEntry]:
    """Every tensor of a file by name, with sizes and offsets checked against the file's length.

    Raises CheckpointError when the file is truncated or not in the safetensors format: tensors fill
    the data area without holes or overlap, and no name comes twice.
    """
    if not path.is_file():
        raise broken(path, "not a regular file")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        header_bytes = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if head == LFS_POINTER:
            raise CheckpointError(f"{path}: a git-lfs pointer, not the file", "run: git lfs pull")
        if len(head) < 8 or header_bytes > min(size - 8, MAX_HEADER_BYTES):
            raise broken(path, f"header of {header_bytes} bytes in a file of {size} bytes")
        text = file.read(header_bytes)
    header = parse_header(path, text)
    header.pop("__metadata__", None)
    data = 8 + header_bytes, size
    entries = {name: parse_entry(path, name, info, data) for name, info in header.items()}
    check_tiling(path, sorted(entries.values(), key=lambda e: (e.offset, e.n_bytes)), data)
    return entries


def parse_header(path: Path, text: bytes) -> dict[str, object]:
    """The header's JSON object."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        items = dict(pairs)
        if len(items) < len(pairs):
            raise ValueError("a name comes twice")
        return items

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, ValueError) else "nested deeply"
        raise broken(path, f"the header is not valid JSON: {reason}") from error
    if not isinstance(header, dict):
        raise broken(path, "the header is not a JSON object")
    return header


def check_tiling(path: Path, entries: list[TensorEntry], data: tuple[int, int]) -> None:
    """CheckpointError unless the entries, by offset, follow one another and fill the data area."""
    at, end = data
    for entry in entries:
        if entry.offset != at:
            what = "overlaps the one before" if entry.offset < at else "leaves a hole before it"
            raise broken(path, f"tensor {entry.name} {what}")
        at += entry.n_bytes
    if at != end:
        raise broken(path, f"{end - at} bytes behind the last tensor")


def parse_entry(path: Path, name: str, info: object, data: tuple[int, int]) -> TensorEntry:
    """The entry of one header item; `data` holds the first and the end byte of the data area."""
    start, end = data
    match info:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(first), int(last)]}:
            pass
        case _:
            raise broken(path, f"tensor {name} lacks dtype, shape or data_offsets")
    if dtype not in DTYPE_BYTES:
        raise CheckpointError(
            f"{path}: tensor {name} has dtype {dtype}, expected F32, F16 or BF16",
            "save the model in bfloat16, float16 or float32 first",
        )
    sides_fit = all(type(side) is int and 0 <= side < MAX_SIDE for side in shape)
    if not sides_fit or len(shape) > MAX_DIMS:
        raise broken(path, f"tensor {name} has an impossible shape of {len(shape)} sides")
    if not 0 <= first <= last < MAX_SIDE:
        raise broken(path, f"tensor {name} has impossible data_offsets")
    if last > end - start:
        raise broken(path, f"truncated: tensor {name} ends at byte {start + last} of {end}")
    entry = TensorEntry(name, tuple(shape), dtype, path, start + first)
    if entry.n_bytes != last - first:
        raise broken(
            path, f"tensor {name} has {last - first} bytes, expected {entry.n_bytes} for its shape"
        )
    return entry


def broken(path: Path, what: str) -> CheckpointError:
    """The error for a file that breaks the format."""
    return CheckpointError(
        f"{path}: {what}", "the file is damaged or incomplete; download or save it again"
    )
