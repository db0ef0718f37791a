"""Makes a container's metadata out of a bundle, in the order in which it is written.

GGUF gives every number a width. A whole number is u32 where it fits, else i32, i64 or u64; in an
array i32 where all fit, else i64; a float is f32 where that is exact, else f64. So reading and
writing again gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from exporters.bundle import MetadataValue, ModelBundle
from exporters.gguf.codecs import CODECS
from exporters.gguf.format_list import FormatList
from exporters.gguf.spec import (
    ARCHITECTURE,
    DIMS_KEY,
    DIMS_KIND,
    FILE_KEYS,
    FORMAT_VERSION,
    MAX_ARRAY,
    MAX_KEY_BYTES,
    MAX_STRING_BYTES,
    MODEL_PREFIX,
    STRING,
    TOKENIZER_PREFIX,
    ContainerError,
    GGUFType,
    Kind,
    array_of,
)

# Whole numbers take the first type whose range holds them.
SCALAR_RANGES = (
    (GGUFType.U32, 0, 1 << 32),
    (GGUFType.I32, -(1 << 31), 1 << 31),
    (GGUFType.I64, -(1 << 63), 1 << 63),
    (GGUFType.U64, 0, 1 << 64),
)
ARRAY_RANGES = ((GGUFType.I32, -(1 << 31), 1 << 31), (GGUFType.I64, -(1 << 63), 1 << 63))


@dataclass(frozen=True, slots=True)
class Pair:
    """A key and its value, with the GGUF type to write it in."""

    key: str
    kind: Kind
    value: object


def bundle_pairs(bundle: ModelBundle, writer: str) -> list[Pair]:
    """The pairs that do not depend on the tensors; ContainerError where one cannot be written."""
    try:
        json.loads(bundle.settings)
    except ValueError as error:
        raise ContainerError(f"settings: {error}, expected JSON text") from error
    texts = {
        "general.architecture": ARCHITECTURE,
        "general.name": bundle.name,
        "edgecomp.settings": bundle.settings,
        "edgecomp.writer": writer,
    }
    pairs = [Pair(key, STRING, _checked_text(key, text)) for key, text in texts.items()]
    pairs.append(_pair("edgecomp.format_version", FORMAT_VERSION))
    pairs += [_value_pair(MODEL_PREFIX + key, value) for key, value in bundle.model.items()]
    for key, value in bundle.tokenizer.items():
        if not key.startswith(TOKENIZER_PREFIX):
            raise ContainerError(f"key {key}: expected to start with {TOKENIZER_PREFIX!r}")
        pairs.append(_value_pair(key, value))
    return pairs


def format_pairs(listed: FormatList) -> list[Pair]:
    """The pairs that describe the formats."""
    pairs = [_pair("edgecomp.format.count", len(listed.formats))]
    for i, fmt in enumerate(listed.formats):
        prefix, codec = f"edgecomp.format.{i}.", CODECS[fmt.codec]
        values = listed.fields(i)
        pairs.append(Pair(f"{prefix}codec", STRING, fmt.codec))
        pairs += [Pair(prefix + key, kind, values[key]) for key, kind in codec.keys.items()]
    return pairs


def tensor_pairs(fields: Mapping[str, Sequence[object]], dims: Sequence[int]) -> list[Pair]:
    """The pairs edgecomp.tensor.*: `fields` by their last name, one value per tensor in each."""
    pairs = [_pair(f"edgecomp.tensor.{field}", values) for field, values in fields.items()]
    if dims:
        pairs.append(Pair(DIMS_KEY, DIMS_KIND, dims))
    return pairs


def ordered(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs as they lie in the file: the architecture, then all others by key."""
    keys = [pair.key for pair in pairs]
    if len(set(keys)) != len(keys):
        doubled = next(key for key in keys if keys.count(key) > 1)
        raise ContainerError(f"key {doubled}: given twice")
    return sorted(pairs, key=lambda pair: (pair.key != "general.architecture", pair.key))


def _pair(key: str, value: object) -> Pair:
    return Pair(key, FILE_KEYS[key], value)


def _value_pair(key: str, value: MetadataValue) -> Pair:
    """The pair of a free key, in the type that its value asks for."""
    printable = all("\x21" <= c <= "\x7e" for c in key)
    if not printable or len(key) > MAX_KEY_BYTES or key.endswith("."):
        raise ContainerError(f"key {key!r}: expected 1..{MAX_KEY_BYTES} printable ASCII characters")
    if not isinstance(value, list):
        return Pair(key, (_number_type(key, [value], SCALAR_RANGES), None), value)
    if not 1 <= len(value) <= MAX_ARRAY:
        raise ContainerError(f"key {key}: {len(value)} elements, expected 1..{MAX_ARRAY}")
    return Pair(key, array_of(_number_type(key, value, ARRAY_RANGES)), value)


def _number_type(
    key: str, values: Sequence[object], ranges: Sequence[tuple[GGUFType, int, int]]
) -> GGUFType:
    """The type that holds all of `values`, which must be of one Python type."""
    types = {type(value) for value in values}
    if types == {str}:
        for value in values:
            _checked_text(key, str(value))
        return GGUFType.STRING
    if types == {bool}:
        return GGUFType.BOOL
    if types == {int}:
        for gguf_type, low, high in ranges:
            if all(isinstance(v, int) and low <= v < high for v in values):
                return gguf_type
        raise ContainerError(f"key {key}: a whole number that no GGUF type holds")
    if types == {float}:
        floats = np.array(values, np.float64)
        if not np.isfinite(floats).all():
            raise ContainerError(f"key {key}: a value that is not finite")
        with np.errstate(over="ignore", under="ignore"):
            exact = (floats.astype(np.float32) == floats).all()
        return GGUFType.F32 if exact else GGUFType.F64
    names = sorted(t.__name__ for t in types)
    raise ContainerError(f"key {key}: {' and '.join(names)}, expected one of str, int, float, bool")


def _checked_text(key: str, text: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise ContainerError(f"key {key}: text is not valid Unicode") from error
    if size > MAX_STRING_BYTES:
        raise ContainerError(f"key {key}: {size} bytes, expected at most {MAX_STRING_BYTES}")
    return text
