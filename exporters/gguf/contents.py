"""Makes the tensors of a parsed file, and checks that it says exactly what it must.

The order of checks: format version, keys and their kinds, formats, tensors, end of the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from exporters.gguf.format_reader import check_format_keys, check_kind
from exporters.gguf.parse import Entry
from exporters.gguf.payloads import Payloads
from exporters.gguf.spec import (
    ALIGNMENT,
    ARCHITECTURE,
    DIMS_KEY,
    DIMS_KIND,
    FILE_KEYS,
    FORMAT_VERSION,
    MAX_TENSORS,
    MODEL_PREFIX,
    U32,
    ContainerError,
    check_name,
    payload_name,
)
from runtime_ops.formats import EncodedTensor, Format, FormatError, checked_weights


@dataclass(frozen=True)
class TensorEntry:
    """What the file says about a tensor.

    `n_bytes` is the size of its parts, without padding and without tables, which formats share.
    """

    name: str
    format: Format
    shape: tuple[int, ...]
    error_bound: float
    sha256: str
    n_bytes: int

    @property
    def n_weights(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


def check_keys(entries: Mapping[str, Entry]) -> None:
    """ContainerError unless the file has every key it must have, of its kind, and no other."""
    version = entries.get("edgecomp.format_version")
    if version is not None and version.kind == U32 and version.value != FORMAT_VERSION:
        raise ContainerError(f"format version: {version.value}, expected {FORMAT_VERSION}")
    for key, kind in FILE_KEYS.items():
        check_kind(entries, key, kind)
    if entries["general.architecture"].value != ARCHITECTURE:
        value = entries["general.architecture"].value
        raise ContainerError(f"general.architecture: {value!r}, expected {ARCHITECTURE!r}")
    if "general.alignment" in entries:
        check_kind(entries, "general.alignment", U32)
        if entries["general.alignment"].value != ALIGNMENT:
            value = entries["general.alignment"].value
            raise ContainerError(f"general.alignment: {value}, expected {ALIGNMENT}")
    if DIMS_KEY in entries:
        check_kind(entries, DIMS_KEY, DIMS_KIND)
    ours = {*FILE_KEYS, DIMS_KEY, *check_format_keys(entries)}
    for key in entries:
        if key.startswith("edgecomp.") and not key.startswith(MODEL_PREFIX) and key not in ours:
            raise ContainerError(f"key {key}: not known in format version {FORMAT_VERSION}")


def read_tensors(
    metadata: Mapping[str, Any], formats: tuple[Format, ...], payloads: Payloads
) -> Iterator[tuple[TensorEntry, EncodedTensor]]:
    """The tensors of the file in order, their parts not copied; the keys were checked."""
    fields = {
        field: metadata[f"edgecomp.tensor.{field}"]
        for field in ("names", "formats", "n_dims", "error_bounds", "sha256", "data_offsets")
    }
    n_tensors = len(fields["names"])
    if not 1 <= n_tensors <= MAX_TENSORS:
        raise ContainerError(f"number of tensors: {n_tensors}, expected 1..{MAX_TENSORS}")
    for field, values in fields.items():
        if len(values) != n_tensors:
            key = f"edgecomp.tensor.{field}"
            raise ContainerError(f"{key}: {len(values)} values, expected {n_tensors}")
    dims = metadata.get(DIMS_KEY, [])
    if len(dims) != sum(fields["n_dims"]):
        raise ContainerError(f"{DIMS_KEY}: {len(dims)} values, expected {sum(fields['n_dims'])}")
    _check_names(fields["names"])
    first_dim = 0
    rows = zip(*fields.values(), strict=True)
    for i, (name, f, n_dims, bound, sha256, offset) in enumerate(rows):
        if f >= len(formats):
            raise ContainerError(f"tensor {name!r}: format {f}, expected less than {len(formats)}")
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise ContainerError(f"tensor {name!r}: sha256 {sha256!r}, expected 64 hex digits")
        if offset != payloads.end:
            raise ContainerError(f"tensor {name!r}: data offset {offset}, expected {payloads.end}")
        shape = tuple(dims[first_dim : first_dim + n_dims])
        try:
            encoded = _encoded_tensor(payloads, (name, i), formats[f], shape, bound)
        except FormatError as error:
            raise ContainerError(f"tensor {name!r}: {error}") from error
        yield TensorEntry(name, formats[f], shape, bound, sha256, encoded.n_bytes), encoded
        first_dim += n_dims


def _check_names(names: list[str]) -> None:
    previous = ""
    for name in names:
        check_name(name)
        if name.encode() <= previous.encode():
            raise ContainerError(f"tensor {name!r} after {previous!r}, expected ascending names")
        previous = name


def _encoded_tensor(
    payloads: Payloads,
    name_and_index: tuple[str, int],
    fmt: Format,
    shape: tuple[int, ...],
    error_bound: float,
) -> EncodedTensor:
    name, i = name_and_index
    checked_weights(shape)
    parts = {
        spec.name: payloads.take(payload_name(name, i, spec.name), spec)
        for spec in fmt.part_specs(shape)
    }
    return EncodedTensor(fmt, shape, parts, error_bound)
