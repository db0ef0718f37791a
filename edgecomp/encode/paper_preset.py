"""The winding codec's preset `paper`: Hyper-Compression as published (hyper.md 2).

Pairs of weights, one box around the mean pair of the whole tensor, classes of pairs outside of it
that are shrunk radially into it, the number of classes (and of points) by mean absolute error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode.blocks import PartWriter, block_weights, map_blocks
from edgecomp.encode.lattice import SIDE, Vector
from edgecomp.encode.raw import encode_raw
from edgecomp.encode.search import Errors, PointSearch
from edgecomp.encode.settings import PaperSettings
from edgecomp.encode.source import WeightSource
from runtime_ops.formats import EncodedTensor, WindingFormat
from runtime_ops.formats.part import MAX_SCALE, MIN_SCALE

SMALLEST_TENSOR = 10  # weights; smaller tensors stay raw
STATISTICS_BLOCK = 1 << 20  # weights, even


@dataclass(frozen=True, slots=True)
class Cloud:
    """The pairs of a tensor from afar: their mean, the largest distance from it, the pad weight."""

    centre: NDArray[np.float32]  # (2,)
    largest_radius: float
    outside: int  # pairs outside the box
    mean: np.float32  # of all weights; what an odd tensor is padded with


def paper_format(points: int, classes: int) -> WindingFormat:
    """The published winding: slope m = ceil(sqrt(points)), steps of 1 / m**2 and 1 / m of the box.

    Rounding the generator up makes frac(k / m) exact: the error stays below one level.
    """
    side = math.isqrt(points - 1) + 1
    levels = side * side
    generator: Vector = (-(-SIDE // levels), -(-SIDE // side))
    return WindingFormat(
        dim=2,
        points=points,
        generator=generator,
        shift=(0, 0),
        levels=levels,
        offset=0,
        centre=True,
        classes=1 + classes,
        group=0,
        packing="bits",
    )


def encode_paper(source: WeightSource, settings: PaperSettings) -> EncodedTensor:
    """The tensor encoded as published, or raw where the published scheme leaves it raw."""
    if math.prod(source.shape) < SMALLEST_TENSOR:
        return encode_raw(source)
    cloud = _cloud(source, settings.box)
    if not _scales_exist(cloud, settings):
        return encode_raw(source)
    fmt, error = _choose_format(source, cloud, settings)
    if settings.raw_error is not None and error > settings.raw_error:
        return encode_raw(source)

    params = _params(fmt, cloud, settings.box)
    search = PointSearch(fmt)
    codes = PartWriter(fmt.code_bytes(math.prod(source.shape)), "u1")
    errors = Errors()
    for indices, block_errors in map_blocks(
        source, block_weights(fmt), lambda w: _encode_block(search, w, cloud, params)
    ):
        codes.append(search.pack(indices))
        errors += block_errors
    parts: dict[str, NDArray[np.generic]] = {"codes": codes.array, "params": params}
    return EncodedTensor(fmt, source.shape, parts, errors.bound_f32())


def _cloud(source: WeightSource, box: float) -> Cloud:
    """One pass for the means, one for the distances from them."""
    n_weights = math.prod(source.shape)
    sums = np.zeros(2)
    for block in map_blocks(source, STATISTICS_BLOCK, _pair_sums):
        sums += block
    mean = np.float32(sums.sum() / n_weights)
    if n_weights % 2:
        sums[1] += mean
    centre = (sums / ((n_weights + 1) // 2)).astype(np.float32)

    def distances(weights: NDArray[np.float32]) -> tuple[float, int]:
        off = np.abs(_pairs(weights, mean).astype(np.float64) - centre)
        radii = np.sqrt(off[:, 0] ** 2 + off[:, 1] ** 2)
        return float(radii.max()), int((off.max(axis=1) > box / 2).sum())

    blocks = list(map_blocks(source, STATISTICS_BLOCK, distances))
    return Cloud(centre, max(r for r, _ in blocks), sum(n for _, n in blocks), mean)


def _pair_sums(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sums of the even and of the odd elements, left to right (the same on every machine)."""
    wide = weights.astype(np.float64)
    odd = wide[1::2].cumsum()
    return np.array([wide[0::2].cumsum()[-1], odd[-1] if len(odd) else 0.0])


def _pairs(weights: NDArray[np.float32], pad: np.float32) -> NDArray[np.float32]:
    if len(weights) % 2:
        weights = np.append(weights, pad)
    return weights.reshape(-1, 2)


def _scales_exist(cloud: Cloud, settings: PaperSettings) -> bool:
    """False when a scale or the centre would be outside the format's range."""
    numbers = [abs(float(c)) for c in cloud.centre if c != 0]
    numbers.append(max(cloud.largest_radius, settings.box))
    return min(numbers) >= MIN_SCALE and max(numbers) <= MAX_SCALE


def _radii(cloud: Cloud, box: float, classes: int) -> list[float]:
    """Outer radius of every class: box / 2, then evenly up to the farthest pair."""
    half = box / 2
    return [half + j * (cloud.largest_radius - half) / max(classes, 1) for j in range(classes + 1)]


def _params(fmt: WindingFormat, cloud: Cloud, box: float) -> NDArray[np.float32]:
    """Centre and class scales: a class of radius R shrinks by (box / 2) / R."""
    scales = [radius / fmt.levels for radius in _radii(cloud, box, fmt.classes - 1)]
    return np.array([*cloud.centre, *scales], np.float32)


def _classes(
    fmt: WindingFormat, pairs: NDArray[np.float32], params: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Class of each pair, uint8 (n,): 0 inside the box, else the first whose radius reaches it."""
    off = np.abs(pairs.astype(np.float64) - params[:2])
    radii = params[2:].astype(np.float64) * fmt.levels
    outer = np.searchsorted(radii[1:], np.sqrt(off[:, 0] ** 2 + off[:, 1] ** 2))
    outer = np.minimum(outer + 1, fmt.classes - 1)  # the farthest pair, rounded to float32
    return np.where(off.max(axis=1) <= radii[0], 0, outer).astype(np.uint8)


def _encode_block(
    search: PointSearch, weights: NDArray[np.float32], cloud: Cloud, params: NDArray[np.float32]
) -> tuple[NDArray[np.uint32], Errors]:
    pairs = _pairs(weights, cloud.mean)
    classes = _classes(search.format, pairs, params)
    return search.encode_points(pairs.reshape(-1), params, classes)


def _choose_format(
    source: WeightSource, cloud: Cloud, settings: PaperSettings
) -> tuple[WindingFormat, float]:
    """The format the published search ends at, and its mean absolute error."""
    n_weights = math.prod(source.shape)
    for points in settings.points:
        best, error = _choose_classes(source, cloud, settings, points)
        if error / n_weights <= settings.max_error:
            break
    return best, error / n_weights


def _choose_classes(
    source: WeightSource, cloud: Cloud, settings: PaperSettings, points: int
) -> tuple[WindingFormat, float]:
    """The number of classes with the least absolute error (summed), ties to the larger.

    The search stops at the first that reaches the target. Pairs inside the box are the same for
    all, so they are encoded once.
    """
    none = paper_format(points, 0)
    if cloud.outside == 0 or settings.classes == 0:
        return none, sum(
            errors.absolute
            for errors in map_blocks(
                source,
                block_weights(none),
                lambda w: _encode_block(
                    PointSearch(none), w, cloud, _params(none, cloud, settings.box)
                )[1],
            )
        )
    searches = [PointSearch(replace(none, classes=1 + m)) for m in range(1, settings.classes + 1)]

    def absolute_errors(weights: NDArray[np.float32]) -> NDArray[np.float64]:
        pairs = _pairs(weights, cloud.mean)
        outside = np.abs(pairs.astype(np.float64) - cloud.centre).max(axis=1) > settings.box / 2
        sums = np.empty(len(searches))
        for i, search in enumerate(searches):
            params = _params(search.format, cloud, settings.box)
            outer = np.ascontiguousarray(pairs[outside]).reshape(-1)
            classes = _classes(search.format, outer.reshape(-1, 2), params)
            sums[i] = search.encode_points(outer, params, classes)[1].absolute
        inner = np.ascontiguousarray(pairs[~outside]).reshape(-1)
        params = _params(none, cloud, settings.box)
        return sums + searches[0].encode_points(inner, params)[1].absolute

    totals = np.zeros(len(searches))
    for sums in map_blocks(source, block_weights(none), absolute_errors):
        totals += sums
    target = settings.target_error * math.prod(source.shape)
    chosen = 0
    for i, total in enumerate(totals):
        if total <= totals[chosen]:
            chosen = i
        if total <= target:
            break
    return searches[chosen].format, float(totals[chosen])
