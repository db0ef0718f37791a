"""The uniform codec: integers to the nearest, with the scale of a group that errs least."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode.blocks import PartWriter, map_blocks
from edgecomp.encode.raw import encode_raw
from edgecomp.encode.settings import UniformSettings
from edgecomp.encode.source import WeightSource
from runtime_ops.formats import EncodedTensor, UniformFormat, matrix_sides
from runtime_ops.formats.part import MAX_SCALE, MIN_ROW_SCALE, MIN_SCALE
from runtime_ops.formats.trellis import BAND_ROWS, STRIP_COLUMNS

BLOCK_WEIGHTS = 1 << 17  # of whole bands, about, that are encoded at a time
# Scales that are tried: shares of the one that takes a group's largest weight to the largest
# integer (2**(bits - 1) - 1), a step apart, from so many steps above 1 to so many below it. On unit
# Gaussian samples 300 of them in wider ranges lower the squared error by 0.2 % at 2 bits and by
# 1.0, 0.4 and 0.2 % at 4 bits with groups of 32, 128 and 2048.
TRIED = {2: (0.03, 1, 26), 4: (0.025, 2, 20), 8: (0.005, 2, 10)}


def encode_uniform(source: WeightSource, settings: UniformSettings) -> EncodedTensor:
    """The tensor as a matrix of shape[0] rows; vectors, scalars and tiny ones stay raw.

    So do weights so large or small that scales of theirs do not exist. Raises WeightError for
    weights that are not finite.
    """
    if len(source.shape) < 2:
        return encode_raw(source)
    fmt = UniformFormat(int(settings.bits), settings.group)
    rows, columns = matrix_sides(source.shape)
    specs = {spec.name: spec for spec in fmt.part_specs(source.shape)}
    if sum(spec.size * spec.dtype.itemsize for spec in specs.values()) >= 2 * rows * columns:
        return encode_raw(source)
    size = max(1, BLOCK_WEIGHTS // (columns * BAND_ROWS)) * BAND_ROWS * columns
    largest = max(map_blocks(source, size, lambda weights: float(np.abs(weights).max())))
    factor = factor_of(largest, fmt.bits)
    if not MIN_SCALE <= factor <= MAX_SCALE:
        return encode_raw(source)
    codes = PartWriter(specs["codes"].size, "u1")
    scales = PartWriter(specs["scales"].size, "<f2")
    error = 0.0
    for block_codes, block_scales, block_error in map_blocks(
        source, size, lambda weights: encode_rows(fmt, weights.reshape(-1, columns), factor)
    ):
        codes.append(block_codes)
        scales.append(block_scales)
        error = max(error, block_error)
    parts = {"codes": codes.array, "scales": scales.array, "params": np.array([factor], "<f4")}
    bound = 0.0 if error == 0 else float(np.nextafter(np.float32(error), np.float32(np.inf)))
    return replace(EncodedTensor(fmt, source.shape, parts), error_bound=bound)


def factor_of(largest: float, bits: int) -> float:
    """A power of two that brings the tensor's largest scale to about 1; 1 without weights."""
    scale = largest / ((1 << bits - 1) - 1)
    return 2.0 ** math.floor(math.log2(scale)) if scale > 0 else 1.0


def encode_rows(
    fmt: UniformFormat, weights: NDArray[np.float32], factor: float
) -> tuple[NDArray[np.uint8], NDArray[np.float16], float]:
    """Codes and scales of whole bands in file order, and the largest error of a weight.

    `weights` float32 (rows, columns), of which only the last band of a matrix may lack rows.
    """
    rows, columns = weights.shape
    width = min(fmt.group, columns)
    padded = np.zeros((rows, fmt.groups((rows, columns)) * width), np.float32)
    padded[:, :columns] = weights * np.float32(1 / factor)
    groups = padded.reshape(rows, -1, width)
    scales = best_scales(groups, fmt.bits)
    values = nearest(groups, scales.astype(np.float32), fmt.bits)
    missed = np.abs(groups.astype(np.float64) - scales[:, :, None].astype(np.float32) * values)
    codes = pack(fmt, values.reshape(rows, -1)[:, :columns].astype(np.int8))
    bands = fmt.bands((rows, columns))
    grid = np.zeros((bands * BAND_ROWS, scales.shape[1]), np.float16)
    grid[:rows] = scales
    in_order = grid.reshape(bands, BAND_ROWS, -1).transpose(0, 2, 1)
    return codes, in_order.reshape(-1), float(missed.max()) * factor


def best_scales(groups: NDArray[np.float32], bits: int) -> NDArray[np.float16]:
    """The scale of TRIED that leaves the least squared error, as stored, (rows, groups).

    `groups` float32 (rows, groups, columns). The first of equal ones; 0 for a group of zeros.
    """
    unit = np.abs(groups).max(axis=2) / np.float32((1 << bits - 1) - 1)
    best = np.zeros(unit.shape, np.float16)
    least = np.full(unit.shape, np.inf, np.float32)
    step, above, below = TRIED[bits]
    for i in range(-above, below + 1):
        scales = rounded(unit * np.float32(1 - i * step))
        wide = scales.astype(np.float32)
        missed = groups - wide[:, :, None] * nearest(groups, wide, bits)
        errors = np.square(missed, out=missed).sum(axis=2)
        better = errors < least
        least = np.where(better, errors, least)
        best = np.where(better, scales, best)
    return best


def rounded(scales: NDArray[np.float32]) -> NDArray[np.float16]:
    """Scales as float16: those below the smallest normal one become that, or 0."""
    least = np.float32(MIN_ROW_SCALE)
    normal = np.where(scales < least, np.where(scales < least / 2, np.float32(0), least), scales)
    return normal.astype(np.float16)


def nearest(
    groups: NDArray[np.float32], scales: NDArray[np.float32], bits: int
) -> NDArray[np.float32]:
    """The integers nearest to weights, float32 (rows, groups, columns); ties to even."""
    half = 1 << bits - 1
    with np.errstate(divide="ignore"):
        inverse = np.where(scales > 0, 1 / scales, 0).astype(np.float32)
    values = groups * inverse[:, :, None]
    np.rint(values, out=values)
    return np.clip(values, -half, half - 1, out=values)


def pack(fmt: UniformFormat, values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Codes of whole bands in file order; rows and columns that lack are value 0.

    `values` int8 (rows, columns).
    """
    rows, columns = values.shape
    bands, tiles = fmt.bands(values.shape), fmt.tiles(values.shape)
    grid = np.zeros((bands * BAND_ROWS, tiles * STRIP_COLUMNS), np.int8)
    grid[:rows, :columns] = values
    elements = grid.reshape(bands, BAND_ROWS, tiles, STRIP_COLUMNS).transpose(0, 2, 1, 3)
    if fmt.bits == 8:
        return elements.reshape(-1).view(np.uint8)
    fields = elements.reshape(-1, 8 // fmt.bits, fmt.tile_bytes) + np.int8(1 << fmt.bits - 1)
    codes = np.zeros((len(fields), fmt.tile_bytes), np.uint8)
    for i in range(8 // fmt.bits):
        codes |= fields[:, i].view(np.uint8) << np.uint8(i * fmt.bits)
    return codes.reshape(-1)
