"""Test cases as runtime_ops/csrc/programs/vectors_main.c reads them."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats import (
    ColumnsFormat,
    CrvqFormat,
    PlainFormat,
    RawFormat,
    TrellisFormat,
    UniformFormat,
    WindingFormat,
    matrices,
)
from tests.runtime_ops.vectors import Case

N_FIELDS = 44
NO_MATRIX = struct.pack(f"<{N_FIELDS}I5Q", *[0] * (N_FIELDS + 5))


def packed(case: Case) -> bytes:
    """The header, then the blobs: permutation, x, expected, those of both matrices."""
    tensor = case.tensor
    fmt = tensor.format
    permutation, n_critical = b"", 0
    if isinstance(fmt, ColumnsFormat):
        permutation = fmt.permutation.data if fmt.permutation else b""
        n_critical = fmt.n_critical
    stored = [_matrix(*matrix) for matrix in matrices(tensor)]
    if len(stored) == 1:
        stored.insert(0, (NO_MATRIX, b""))
    shape = [*tensor.shape, *[0] * (8 - len(tensor.shape))]
    blobs = [permutation, case.x.tobytes(), case.expected.tobytes()]
    n_tokens = case.x.shape[0] if case.x.ndim == 2 else 0
    header = struct.pack("<2I8Q", case.op, len(tensor.shape), *shape)
    header += struct.pack("<5Q", case.first, case.count, n_tokens, case.threads, n_critical)
    header += struct.pack("<3Q", *map(len, blobs)) + b"".join(head for head, _ in stored)
    return header + b"".join(blobs) + b"".join(data for _, data in stored)


def _matrix(fmt: PlainFormat, parts: Mapping[str, NDArray[np.generic]]) -> tuple[bytes, bytes]:
    """Header and blobs of a matrix: codes, extended, scales, params, table."""
    table = b""
    if isinstance(fmt, WindingFormat):
        fields = [2, *_winding_fields(fmt)]
        table = np.array(fmt.table or (), "<i2").tobytes()
    elif isinstance(fmt, CrvqFormat):
        pad = [0] * (8 - fmt.stages)
        fields = [3, fmt.dim, *[0] * 15, fmt.code_bits, 0, *fmt.critical_groups, *pad, fmt.stages]
        fields += [*fmt.shifts, *pad, int(fmt.codebooks.array.itemsize == 2)]
        table = fmt.codebooks.data
    elif isinstance(fmt, TrellisFormat):
        wide = int(fmt.table.array.itemsize == 2)
        fields = [4, fmt.dim, *[0] * 33, wide, fmt.state_bits, fmt.step_bits]
        fields += [*fmt.multipliers, *[0] * (2 - fmt.dim), fmt.fold, fmt.table_bits]
        fields += [fmt.rotation, fmt.seed]
        table = fmt.table.data
    elif isinstance(fmt, UniformFormat):
        fields = [5, *[0] * 14, fmt.group, 0, fmt.bits]
    else:
        fields = [1 if fmt.dtype == "f16" else 0]
    codes = parts["raw" if isinstance(fmt, RawFormat) else "codes"].tobytes()
    others = [parts[name].tobytes() if name in parts else b"" for name in OTHER_PARTS]
    blobs = [codes, *others, table]
    fields += [0] * (N_FIELDS - len(fields))
    return struct.pack(f"<{N_FIELDS}I5Q", *fields, *map(len, blobs)), b"".join(blobs)


OTHER_PARTS = ("extended", "scales", "params")


def _winding_fields(fmt: WindingFormat) -> list[int]:
    pad = [0] * (4 - fmt.dim)
    fields = [fmt.dim, fmt.points, *fmt.generator, *pad, *fmt.shift, *pad]
    fields += [fmt.levels, fmt.offset, int(fmt.centre), fmt.classes, fmt.group]
    return [*fields, int(fmt.packing == "radix")]
