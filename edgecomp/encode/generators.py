"""Generators of windings, found by what counts: the mean square error on Gaussian weights.

A Korobov generator is (1, g, g**2, ..) / U. The best g are kept in korobov.json, which
benchmarks/search_generators.py writes; for other numbers of points a few are tried here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode import companding
from edgecomp.encode.lattice import SIDE, Vector, centred_shift
from edgecomp.encode.search import PointSearch
from edgecomp.encode.settings import packed_bits
from runtime_ops.formats import WindingFormat

UNIFORM_LEVELS = 1 << 16
TRIALS = 128
SAMPLES = 4096


def golden(dim: int, points: int) -> Vector:
    """Generator of the Kronecker sequence (k / U, k / phi, k / phi**2, ..), phi**D = phi + 1.

    D = 2 is the golden ratio; larger D are its generalisations (the plastic number for D = 3).
    """
    phi = 2.0
    for _ in range(64):
        phi = (1 + phi) ** (1 / dim)
    return (SIDE // points, *(round(SIDE / phi**d) for d in range(1, dim)))


def korobov(dim: int, points: int, companded: bool) -> Vector:
    """The Korobov generator with the least error known: from the file, else from a short search."""
    g = known_generators().get(key(dim, points, companded))
    if g is None:
        g = search_korobov(dim, points, companded, TRIALS, SAMPLES)
    return korobov_vector(dim, points, g)


def korobov_vector(dim: int, points: int, g: int) -> Vector:
    """(1, g, g**2, ..) / points, in units of 2**-32."""
    return tuple(pow(g, d, points) * SIDE // points or 1 for d in range(dim))


@lru_cache(maxsize=1)
def known_generators() -> dict[str, int]:
    """Best g by 'dim/points/companded' or 'dim/points/uniform'."""
    text = (Path(__file__).parent / "korobov.json").read_text()
    return {key: int(g) for key, g in json.loads(text).items()}


def key(dim: int, points: int, companded: bool) -> str:
    """The name of a case in korobov.json."""
    return f"{dim}/{points}/{'companded' if companded else 'uniform'}"


@lru_cache(maxsize=64)
def search_korobov(dim: int, points: int, companded: bool, trials: int, samples: int) -> int:
    """The g with the least mean square error of `trials` ones, on `samples` Gaussian weights.

    Depends on nothing but its arguments: the g's are spread by the golden ratio, the weights come
    from an integer hash.
    """
    if dim == 1 or points == 2:
        return 1
    weights = gaussian_weights(samples // dim * dim)
    return min(
        candidates(points, trials),
        key=lambda g: korobov_error(dim, points, companded, g, weights),
    )


def candidates(points: int, trials: int) -> list[int]:
    """All g prime to `points`, or about `trials` of them spread by the golden ratio."""
    step = round(points / 1.618033988749895)
    some: Sequence[int] = range(1, points)
    if points > trials:
        some = sorted({1 + i * step % (points - 1) for i in range(trials)})
    return [g for g in some if g == 1 or math.gcd(g, points) == 1]


def korobov_error(
    dim: int, points: int, companded: bool, g: int, weights: NDArray[np.float32]
) -> float:
    """Mean square error of float32 unit Gaussian weights, a multiple of dim of them."""
    fmt = lattice_format(dim, points, korobov_vector(dim, points, g), companded, group=0)
    unit = companding.normal_unit(dim) if companded else uniform_unit(fmt)
    return one_scale_error(fmt, unit, weights)


def one_scale_error(fmt: WindingFormat, unit: float, weights: NDArray[np.float32]) -> float:
    """Mean square error of unit Gaussian weights at one scale: `unit` for a standard deviation."""
    params = np.array([0.0] * fmt.dim + [1 / unit], np.float32)
    return PointSearch(fmt).encode_points(weights, params)[1].squared / len(weights)


def uniform_unit(fmt: WindingFormat) -> float:
    """Integer value that stands for one standard deviation of the weights, without companding."""
    return companding.uniform_unit(math.log2(fmt.points) / fmt.dim, fmt.levels)


def lattice_format(
    dim: int, points: int, generator: Vector, companded: bool, group: int
) -> WindingFormat:
    """The format of the lattice preset: symmetric about 0, one class, no centre node.

    Indices are packed in bits or in radix, whichever takes less.
    """
    return WindingFormat(
        dim=dim,
        points=points,
        generator=generator,
        shift=centred_shift(generator, points),
        levels=companding.LEVELS if companded else UNIFORM_LEVELS,
        offset=1,
        centre=False,
        classes=1,
        group=group,
        packing="radix" if packed_bits(points) < (points - 1).bit_length() else "bits",
        table=companding.normal_table() if companded else None,
    )


def gaussian_weights(n: int) -> NDArray[np.float32]:
    """The same n unit Gaussian weights everywhere: splitmix64 of 1 .. n through the quantiles."""
    state = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    uniform = ((state ^ (state >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) + 0.5
    quantile = NormalDist().inv_cdf
    return np.array([quantile(u * 2.0**-53) for u in uniform.tolist()], np.float32)
