"""The lattice behind a winding, and a reduced basis of it.

Point k of a winding has the coordinates frac((k A_d + B_d) / 2**32). Unwrapped, the points are
those of the lattice {B + k A + 2**32 (0, z_2, .., z_D)} inside the box, because the first
coordinate never wraps. The nearest of them to a target is found from a short basis (hyper.md 5.5:
"round in a reduced basis, test the neighbours") instead of by comparing with all of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SIDE = 1 << 32
LOVASZ = 0.99  # LLL's parameter; close to 1: best basis, and D <= 4 is small

Vector = tuple[int, ...]


@dataclass(frozen=True)
class Lattice:
    """A reduced basis of a winding's lattice and what the search needs besides.

    `basis` and `neighbours` are rows (change of k, change of each coordinate), int64 (n, 1 + D);
    coordinates are in units of 2**-32 of the box. The first `n_relevant` neighbours are the
    Voronoi-relevant ones; the others help next to the box's sides, where some are outside.
    `projection` is the basis made orthogonal, each vector over its squared length, float64 (D, D).
    The nearest plane's point is at most `radius` from any target: half the root of the summed
    squared Gram-Schmidt lengths (Babai 1986).
    """

    basis: NDArray[np.int64]
    projection: NDArray[np.float64]
    neighbours: NDArray[np.int64]
    n_relevant: int
    radius: float


@lru_cache(maxsize=64)
def reduced_lattice(generator: Vector) -> Lattice:
    """The lattice of a winding with generator A, reduced; see Lattice."""
    rows = _lll(_generating_rows(generator))
    orthogonal, _ = _gram_schmidt(rows)
    relevant, others = _neighbours(rows)
    lengths2 = [_dot(row, row) for row in orthogonal]
    return Lattice(
        basis=np.array(rows, np.int64),
        projection=np.array(orthogonal) / np.array(lengths2)[:, None],
        neighbours=np.array(relevant + others, np.int64),
        n_relevant=len(relevant),
        radius=math.sqrt(math.fsum(lengths2)) / 2 * (1 + 1e-9),
    )


def centred_shift(generator: Vector, points: int) -> Vector:
    """The shift B that makes the point set symmetric about the middle of the box."""
    return tuple((-(points - 1) * a % SIDE) // 2 for a in generator)


def _norm2(row: list[int]) -> int:
    return sum(x * x for x in row[1:])


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def _gram_schmidt(rows: list[list[int]]) -> tuple[list[list[float]], list[list[float]]]:
    """Orthogonalised coordinate vectors and the coefficients mu, in float64."""
    orthogonal: list[list[float]] = []
    mu: list[list[float]] = []
    for row in rows:
        rest = [float(x) for x in row[1:]]
        coefficients = []
        for base in orthogonal:
            coefficient = _dot(rest, base) / _dot(base, base)
            coefficients.append(coefficient)
            rest = [x - coefficient * y for x, y in zip(rest, base, strict=True)]
        orthogonal.append(rest)
        mu.append(coefficients)
    return orthogonal, mu


def _lll(rows: list[list[int]]) -> list[list[int]]:
    """The rows (change of k first) reduced by Lenstra, Lenstra and Lovasz (1982).

    Rows are exact integers; the decisions are taken in float64, which is enough for D <= 4.
    """
    rows = [list(row) for row in rows]
    i = 1
    while i < len(rows):
        for j in range(i - 1, -1, -1):
            orthogonal, _ = _gram_schmidt(rows[: j + 1])
            q = round(_dot(rows[i][1:], orthogonal[j]) / _dot(orthogonal[j], orthogonal[j]))
            if q:
                rows[i] = [x - q * y for x, y in zip(rows[i], rows[j], strict=True)]
        orthogonal, mu = _gram_schmidt(rows[: i + 1])
        length2, before = (_dot(v, v) for v in (orthogonal[i], orthogonal[i - 1]))
        if length2 >= (LOVASZ - mu[i][i - 1] ** 2) * before:
            i += 1
        else:
            rows[i], rows[i - 1] = rows[i - 1], rows[i]
            i = max(i - 1, 1)
    return rows


def _generating_rows(generator: Vector) -> list[list[int]]:
    """The lattice's defining basis: (1, A), and 2**32 along every axis but the first."""
    dim = len(generator)
    axes = ([0] * (1 + d) + [SIDE] + [0] * (dim - 1 - d) for d in range(1, dim))
    return [[1, *generator], *axes]


def _neighbours(rows: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Vectors to the points around a point, shortest first: the Voronoi-relevant ones, the others.

    Relevant are the shortest of each class modulo twice the lattice (Voronoi 1908): a point is the
    nearest when none of them leads closer. The others have coefficients -1..1.
    """
    shortest: dict[Vector, int] = {}
    vectors: dict[Vector, list[int]] = {}
    for coefficients in itertools.product(range(-2, 3), repeat=len(rows)):
        parity = tuple(c % 2 for c in coefficients)
        columns = zip(*rows, strict=True)
        vector = [sum(c * x for c, x in zip(coefficients, col, strict=True)) for col in columns]
        vectors[coefficients] = vector
        shortest[parity] = min(shortest.get(parity, _norm2(vector)), _norm2(vector))
    relevant, others = [], []
    for coefficients, vector in vectors.items():
        parity = tuple(c % 2 for c in coefficients)
        if any(parity) and _norm2(vector) == shortest[parity]:
            relevant.append(vector)
        elif max(map(abs, coefficients)) == 1:
            others.append(vector)
    relevant.sort(key=lambda vector: (_norm2(vector), vector))
    others.sort(key=lambda vector: (_norm2(vector), vector))
    return relevant, others
