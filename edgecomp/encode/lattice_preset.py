"""The winding codec's preset `lattice`: a scale per group, points spread for Gaussian weights."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode import companding
from edgecomp.encode.blocks import PartWriter, block_weights, map_blocks
from edgecomp.encode.generators import golden, korobov, lattice_format, uniform_unit
from edgecomp.encode.raw import encode_raw
from edgecomp.encode.search import Errors, PointSearch
from edgecomp.encode.settings import LatticeSettings
from edgecomp.encode.source import WeightSource
from runtime_ops.formats import EncodedTensor, WindingFormat
from runtime_ops.formats.part import MAX_SCALE, MIN_SCALE

SMALLEST_FACTOR = 2.0 ** (-254 / 16)


def format_for(settings: LatticeSettings, columns: int) -> WindingFormat:
    """The format of a tensor whose rows have `columns` weights; others of that width share it."""
    dim, points = settings.chosen_dim, settings.chosen_points
    group = row_group(settings.chosen_group, dim, columns)
    if settings.generator == "golden":
        generator = golden(dim, points)
    else:
        generator = korobov(dim, points, settings.companded)
    return lattice_format(dim, points, generator, settings.companded, group)


def row_group(group: int, dim: int, columns: int) -> int:
    """The largest group, from `group` / 2 to `group`, that rows are a multiple of, else `group`.

    No group then spans two rows, which kernels that work row by row like. A multiple of dim.
    """
    for size in range(group, (group - 1) // 2, -1):
        if size % dim == 0 and columns % size == 0:
            return size
    return group


def encode_lattice(source: WeightSource, settings: LatticeSettings) -> EncodedTensor:
    """The tensor in groups with a scale each; vectors and scalars (norms, biases) stay raw."""
    if len(source.shape) < 2:
        return encode_raw(source)
    fmt = format_for(settings, math.prod(source.shape[1:]))
    unit = companding.normal_unit(fmt.dim) if settings.companded else uniform_unit(fmt)
    size = block_weights(fmt)
    largest = max(map_blocks(source, size, lambda weights: _largest_rms(weights, fmt.group)))
    scale = np.float32(largest / unit * 2.0 ** ((settings.reach + 1) / 16))
    if largest > 0 and not MIN_SCALE / SMALLEST_FACTOR <= scale <= MAX_SCALE:
        return encode_raw(source)  # weights so small or large that a scale of theirs does not exist

    search = PointSearch(fmt)
    n_weights = math.prod(source.shape)
    codes = PartWriter(fmt.code_bytes(n_weights), "u1")
    scales = PartWriter(-(-n_weights // fmt.group), "u1")
    errors = Errors()
    for indices, group_scales, block_errors in map_blocks(
        source, size, lambda w: search.encode_groups(w, float(scale), unit, settings.reach)
    ):
        codes.append(search.pack(indices))
        scales.append(group_scales)
        errors += block_errors
    parts: dict[str, NDArray[np.generic]] = {
        "codes": codes.array,
        "scales": scales.array,
        "params": np.array([0.0] * fmt.dim + [scale], np.float32),
    }
    return EncodedTensor(fmt, source.shape, parts, errors.bound_f32())


def _largest_rms(weights: NDArray[np.float32], group: int) -> float:
    """Largest root mean square of any group of flat weights; the last group may be short."""
    squares = weights.astype(np.float64) ** 2
    sums = np.add.reduceat(squares, np.arange(0, len(squares), group))
    counts = np.full(len(sums), group)
    counts[-1] = len(squares) - group * (len(sums) - 1)
    return math.sqrt(float((sums / counts).max()))
