"""Tensors of random codes in any format: for speed, which needs no sense.

Every state of a trellis, every codeword and every point is as likely as in a compressed model.
Scales are such that weights have a root mean square near 1 / sqrt(columns), which keeps the
activations of a model of such tensors finite.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode.search import PointSearch
from runtime_ops.formats import (
    ColumnsFormat,
    CrvqFormat,
    EncodedTensor,
    Format,
    RawFormat,
    TrellisFormat,
    UniformFormat,
    WindingFormat,
)
from runtime_ops.formats.columns import CRITICAL_PREFIX, PlainFormat
from runtime_ops.formats.part import matrix_sides
from runtime_ops.formats.trellis import BAND_ROWS

__all__ = ["random_tensor"]

Parts = dict[str, NDArray[np.generic]]


def random_tensor(fmt: Format, shape: tuple[int, ...], rng: np.random.Generator) -> EncodedTensor:
    """A tensor of that format and shape; the same for a generator in the same state."""
    if not isinstance(fmt, ColumnsFormat):
        return EncodedTensor(fmt, shape, random_parts(fmt, shape, rng))
    critical, rest = fmt.part_shapes(shape)
    parts: Parts = {}
    if fmt.critical is not None:
        fine = random_parts(fmt.critical, critical, rng)
        parts = {CRITICAL_PREFIX + name: part for name, part in fine.items()}
    return EncodedTensor(fmt, shape, parts | random_parts(fmt.rest, rest, rng))


def random_parts(fmt: PlainFormat, shape: tuple[int, ...], rng: np.random.Generator) -> Parts:
    """The parts of a matrix of one format."""
    match fmt:
        case RawFormat():
            return raw_parts(fmt, shape, rng)
        case UniformFormat():
            return uniform_parts(fmt, shape, rng)
        case TrellisFormat():
            return trellis_parts(fmt, shape, rng)
        case CrvqFormat():
            return crvq_parts(fmt, shape, rng)
        case WindingFormat():
            return winding_parts(fmt, shape, rng)


def raw_parts(fmt: RawFormat, shape: tuple[int, ...], rng: np.random.Generator) -> Parts:
    """Gaussian weights."""
    columns = matrix_sides(shape)[1]
    weights = rng.standard_normal(math.prod(shape), np.float32) / np.float32(math.sqrt(columns))
    return {"raw": weights.astype(fmt.part_specs(shape)[0].dtype)}


def row_scales(n: int, rng: np.random.Generator) -> NDArray[np.float16]:
    """float16 (n,) around 1."""
    return rng.uniform(0.75, 1.25, n).astype(np.float16)


def trellis_parts(fmt: TrellisFormat, shape: tuple[int, ...], rng: np.random.Generator) -> Parts:
    """Random bits; rotation adds up `rotation` weights."""
    rows, columns = matrix_sides(shape)
    table = float(np.sqrt(np.square(fmt.table.array.astype(np.float64)).mean()))
    factor = 1 / (table * math.sqrt(columns * max(1, fmt.rotation)))
    return {
        "codes": np.frombuffer(rng.bytes(fmt.part_specs(shape)[0].size), np.uint8),
        "scales": row_scales(rows, rng),
        "params": np.array([factor], np.float32),
    }


def uniform_parts(fmt: UniformFormat, shape: tuple[int, ...], rng: np.random.Generator) -> Parts:
    """Random integers; scales of rows beyond the matrix are 0."""
    rows, columns = matrix_sides(shape)
    codes, scales, _ = fmt.part_specs(shape)
    factors = rng.uniform(0.75, 1.25, (fmt.bands(shape), fmt.groups(shape), BAND_ROWS))
    if rows % BAND_ROWS:
        factors[-1, :, rows % BAND_ROWS :] = 0
    size = (1 << fmt.bits) / math.sqrt(12)  # the root mean square of integers
    return {
        "codes": np.frombuffer(rng.bytes(codes.size), np.uint8),
        "scales": factors.astype(np.float16).reshape(scales.size),
        "params": np.array([1 / (size * math.sqrt(columns))], np.float32),
    }


def crvq_parts(fmt: CrvqFormat, shape: tuple[int, ...], rng: np.random.Generator) -> Parts:
    """Random bits are codes of every size of codebook."""
    rows, columns = matrix_sides(shape)
    parts: Parts = {
        spec.name: np.frombuffer(rng.bytes(spec.size), np.uint8)
        for spec in fmt.part_specs(shape)
        if spec.name in ("codes", "extended")
    }
    size = float(np.sqrt(np.square(fmt.values.astype(np.float64)).mean()))
    parts["scales"] = row_scales(rows, rng)
    parts["params"] = np.array([1 / (max(size, 1.0) * math.sqrt(columns))], np.float32)
    return parts


def winding_parts(fmt: WindingFormat, shape: tuple[int, ...], rng: np.random.Generator) -> Parts:
    """Random indices, in the middle of the groups' scales."""
    n_weights = math.prod(shape)
    columns = matrix_sides(shape)[1]
    indices = rng.integers(0, fmt.radix, fmt.n_indices(n_weights), np.uint32)
    parts: Parts = {"codes": PointSearch(fmt).pack(indices)}
    if fmt.group:
        parts["scales"] = rng.integers(112, 144, -(-n_weights // fmt.group), np.uint8)
    if fmt.table is None:
        size = fmt.levels / math.sqrt(3)  # root mean square of -levels .. levels
    else:
        size = float(np.sqrt(np.square(np.array(fmt.table, np.float64)).mean()))
    middle = 2.0 ** (-127 / 16) if fmt.group else 1.0  # the factor of the scale 128
    scale = 1 / (size * middle * math.sqrt(columns))
    parts["params"] = np.array([0.0] * fmt.dim + [scale] * fmt.classes, np.float32)
    return parts
