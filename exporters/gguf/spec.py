"""What a container is: keys, types, limits and names of payloads (docs/format.md).

Writer and reader share these; the C reader has its own copies (gguf.h, container_keys.h). What
depends on the codec is in codecs.py.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

FORMAT_VERSION = 1
ARCHITECTURE = "edgecomp"
MODEL_PREFIX = "edgecomp.model."
TOKENIZER_PREFIX = "tokenizer."

ALIGNMENT = 32
HEADER_BYTES = 24
MAX_HEADER_BYTES = 1 << 26  # all that comes before the tensor data
MAX_KEYS = 32768
MAX_KEY_BYTES = 255
MAX_STRING_BYTES = 1 << 24
MAX_ARRAY = 1 << 20
MAX_FORMATS = 2048
MAX_TABLE_BYTES = 1 << 26  # counted again for every format that refers to a table
MAX_TENSORS = 32768
MAX_NAME_BYTES = 255
MAX_PAYLOAD_NAME_BYTES = 63  # llama.cpp's limit for a tensor's name


class ContainerError(ValueError):
    """A file that breaks docs/format.md, or a bundle that cannot be written by it."""


class GGUFType(IntEnum):
    """Types of metadata values by GGUF's numbers."""

    U8 = 0
    I8 = 1
    U16 = 2
    I16 = 3
    U32 = 4
    I32 = 5
    F32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    U64 = 10
    I64 = 11
    F64 = 12


class TensorType(IntEnum):
    """Types of GGUF tensors that a container uses, by GGUF's numbers."""

    F32 = 0
    F16 = 1
    I8 = 24
    I16 = 25


# numpy's dtype of each type of number; bool lies in the file as one byte, 0 or 1.
NUMBER_DTYPES: dict[GGUFType, np.dtype[np.generic]] = {
    GGUFType.U8: np.dtype("u1"),
    GGUFType.I8: np.dtype("i1"),
    GGUFType.U16: np.dtype("<u2"),
    GGUFType.I16: np.dtype("<i2"),
    GGUFType.U32: np.dtype("<u4"),
    GGUFType.I32: np.dtype("<i4"),
    GGUFType.F32: np.dtype("<f4"),
    GGUFType.BOOL: np.dtype("u1"),
    GGUFType.U64: np.dtype("<u8"),
    GGUFType.I64: np.dtype("<i8"),
    GGUFType.F64: np.dtype("<f8"),
}

# How the arrays of a part or a table lie in the file; GGUF has no unsigned tensors.
PAYLOAD_TYPES: dict[np.dtype[np.generic], TensorType] = {
    np.dtype("u1"): TensorType.I8,
    np.dtype("i1"): TensorType.I8,
    np.dtype("<u2"): TensorType.I16,
    np.dtype("<i2"): TensorType.I16,
    np.dtype("<f4"): TensorType.F32,
    np.dtype("<f2"): TensorType.F16,
}

# Kind of a value: its type, and for arrays the type of the elements.
Kind = tuple[GGUFType, GGUFType | None]


def array_of(element: GGUFType) -> Kind:
    """The kind of an array of that type."""
    return GGUFType.ARRAY, element


STRING: Kind = (GGUFType.STRING, None)
U32: Kind = (GGUFType.U32, None)
BOOL: Kind = (GGUFType.BOOL, None)

FILE_KEYS: dict[str, Kind] = {
    "general.architecture": STRING,
    "general.name": STRING,
    "edgecomp.format_version": U32,
    "edgecomp.format.count": U32,
    "edgecomp.settings": STRING,
    "edgecomp.writer": STRING,
    "edgecomp.tensor.data_offsets": array_of(GGUFType.U64),
    "edgecomp.tensor.error_bounds": array_of(GGUFType.F32),
    "edgecomp.tensor.formats": array_of(GGUFType.U32),
    "edgecomp.tensor.n_dims": array_of(GGUFType.U32),
    "edgecomp.tensor.names": array_of(GGUFType.STRING),
    "edgecomp.tensor.sha256": array_of(GGUFType.STRING),
}
DIMS_KEY = "edgecomp.tensor.dims"  # absent when every tensor is a scalar: GGUF has no empty arrays
DIMS_KIND = array_of(GGUFType.U64)


def align(n_bytes: int) -> int:
    """`n_bytes` rounded up to the alignment."""
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


def payload_name(name: str, index: int, part: str) -> str:
    """Name of the GGUF tensor that holds a part; by the tensor's index where its name is long."""
    full = f"{name}.{part}"
    return full if len(full.encode()) <= MAX_PAYLOAD_NAME_BYTES else f"#{index}.{part}"


def table_name(number: int) -> str:
    """Name of the GGUF tensor that holds a table; numbers start at 1."""
    return f"table.{number}"


def check_name(name: str) -> None:
    """ContainerError unless `name` is 1..255 bytes of UTF-8 without controls or a leading '#'."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise ContainerError(f"tensor name {name!r}: not valid Unicode") from error
    if not 1 <= size <= MAX_NAME_BYTES:
        raise ContainerError(f"tensor name {name!r}: {size} bytes, expected 1..{MAX_NAME_BYTES}")
    if name.startswith("#") or any(c < " " or "\x7f" <= c <= "\x9f" for c in name):
        raise ContainerError(f"tensor name {name!r}: starts with '#' or holds a control character")
