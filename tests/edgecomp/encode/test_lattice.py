"""The reduced basis, its promises, and the generators kept in korobov.json."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgecomp.encode import companding, generators
from edgecomp.encode.lattice import SIDE, centred_shift, reduced_lattice

CASES = [
    (dim, points)
    for dim, points in [
        (1, 16),
        (2, 256),
        (2, 1600),
        (3, 4096),
        (4, 4096),
        (4, 65536),
        (4, 1 << 24),
    ]
]


@pytest.mark.parametrize(("dim", "points"), CASES)
def test_reduced_basis_spans_the_winding(dim: int, points: int) -> None:
    """The points are integer combinations of the basis, and the cell has their density."""
    generator = generators.korobov(dim, points, companded=True)
    basis = reduced_lattice(generator).basis
    determinant = abs(np.linalg.det(basis[:, 1:].astype(np.float64) / SIDE))
    assert determinant == pytest.approx(generator[0] / SIDE, rel=1e-6)
    inverse = np.linalg.inv(basis[:, 1:].astype(np.float64))
    for k in (1, 2, points // 3, points - 1):
        at = np.array([k * a % SIDE for a in generator], np.float64)
        at[0] = k * generator[0]  # the first coordinate never wraps
        coefficients = at @ inverse
        assert np.abs(coefficients - np.rint(coefficients)).max() < 1e-5
        assert np.rint(coefficients).astype(int) @ basis[:, 0] == k


@pytest.mark.parametrize(("dim", "points"), CASES)
def test_no_target_is_farther_than_the_radius(dim: int, points: int) -> None:
    """Babai's nearest plane from 2,000 random targets; and the radius is not idle."""
    lattice = reduced_lattice(generators.golden(dim, points))
    vectors = lattice.basis[:, 1:].astype(np.float64)
    rest = np.random.default_rng(1).uniform(0, SIDE, (2000, dim))
    for i in range(dim - 1, -1, -1):
        rest = rest - np.rint(rest @ lattice.projection[i])[:, None] * vectors[i]
    lengths = np.sqrt(np.square(rest).sum(1))
    assert lengths.max() <= lattice.radius
    assert lengths.max() >= 0.6 * lattice.radius


def test_relevant_neighbours_are_those_of_known_lattices() -> None:
    """4 around a square lattice's point, 2 in one dimension, at most 2 (2**D - 1) in general."""
    square = reduced_lattice((SIDE // 16 // 16, SIDE // 16))  # the published grid, nearly square
    assert square.n_relevant in (4, 6)
    assert reduced_lattice((1 << 28,)).n_relevant == 2
    for dim, points in CASES:
        lattice = reduced_lattice(generators.korobov(dim, points, companded=True))
        assert 2 * dim <= lattice.n_relevant <= 2 * (2**dim - 1)
        steps = {tuple(row) for row in lattice.neighbours.tolist()}
        assert {tuple(-x for x in row) for row in steps} == steps


def test_shift_makes_the_points_symmetric() -> None:
    """Point U - 1 - k is point k mirrored, to the rounding of the shift."""
    for dim, points in CASES:
        generator = generators.korobov(dim, points, companded=True)
        shift = centred_shift(generator, points)
        for a, b in zip(generator, shift, strict=True):
            for k in (0, 1, points // 3):
                mirrored = (k * a + b) + ((points - 1 - k) * a + b)
                assert min(mirrored % SIDE, -mirrored % SIDE) <= 1


def test_golden_generators() -> None:
    """The golden ratio for D = 2, the plastic number's powers for D = 3."""
    assert generators.golden(2, 256)[1] == 0x9E3779B9
    plastic = 1.32471795724474602596
    assert generators.golden(3, 64)[1:] == (round(SIDE / plastic), round(SIDE / plastic**2))


def test_kept_generators_are_good() -> None:
    """Every entry is a generator, and no short search finds a much better one."""
    known = generators.known_generators()
    assert len(known) > 100
    for name, g in known.items():
        points = int(name.split("/")[1])
        assert 1 <= g < points
        assert math.gcd(g, points) == 1
    weights = generators.gaussian_weights(1 << 14)
    for dim, points, companded in ((2, 256, True), (2, 1600, False), (4, 4096, True)):
        kept = known[generators.key(dim, points, companded)]
        tried = generators.search_korobov(dim, points, companded, 64, 4096)
        errors = [
            generators.korobov_error(dim, points, companded, g, weights) for g in (kept, tried)
        ]
        assert errors[0] <= 1.01 * errors[1]


def test_gaussian_weights_are_gaussian() -> None:
    """Moments of the deterministic samples that generators are judged by."""
    weights = generators.gaussian_weights(1 << 14).astype(np.float64)
    assert abs(weights.mean()) < 0.02
    assert abs(weights.std() - 1) < 0.02
    assert abs((weights**4).mean() - 3) < 0.2


def test_companding_table() -> None:
    """Odd-symmetric, ascending int16 that ends at the largest."""
    table = companding.normal_table()
    assert len(table) == companding.LEVELS
    assert table[-1] == 32767
    assert all(a == -b for a, b in zip(table, reversed(table), strict=True))
    assert list(table) == sorted(table)
