"""Finds the generators in edgecomp/encode/korobov.json: `python benchmarks/search_generators.py`.

For every dim and power-of-two number of points, many g are tried on a few Gaussian weights and the
best of them on more. Takes about ten minutes on two cores; the result depends on nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode import companding, generators

OUT = Path(__file__).parent.parent / "edgecomp" / "encode" / "korobov.json"
PUBLISHED = (225, 1600)
TRIALS, FINALISTS = 4096, 24
FEW, MANY = 4096, 1 << 16


def best_g(case: tuple[int, int, bool]) -> tuple[str, int, float]:
    """Key, best g and its mean square error for (dim, points, companded)."""
    dim, points, companded = case
    few = generators.gaussian_weights(FEW // dim * dim)
    many = generators.gaussian_weights(MANY // dim * dim)

    def error(g: int, weights: NDArray[np.float32]) -> float:
        return generators.korobov_error(dim, points, companded, g, weights)

    finalists = sorted(generators.candidates(points, TRIALS), key=lambda g: error(g, few))[
        :FINALISTS
    ]
    best = min(finalists, key=lambda g: error(g, many))
    return generators.key(dim, points, companded), best, error(best, many)


def stretch_errors(dim: int) -> dict[float, float]:
    """Mean square error at 4 bits per weight by the companding table's stretch."""
    points = 1 << 4 * dim
    weights = generators.gaussian_weights(MANY // dim * dim)
    generator = generators.korobov(dim, points, companded=True)
    fmt = generators.lattice_format(dim, points, generator, companded=True, group=0)
    return {
        stretch: generators.one_scale_error(fmt, companding.stretched_unit(stretch), weights)
        for stretch in [1 + 0.05 * i for i in range(4, 18)]
    }


def main() -> None:
    """Searches all cases in parallel and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--stretch", action="store_true", help="print errors by stretch instead")
    arguments = parser.parse_args()
    if arguments.stretch:
        for dim in (1, 2, 3, 4):
            for stretch, error in stretch_errors(dim).items():
                print(f"dim {dim}, stretch {stretch:.2f}: mean square error {error:.6f}")
        return
    cases = [
        (dim, points, companded)
        for companded in (True, False)
        for dim in (2, 3, 4)
        for points in [1 << bits for bits in range(dim, 25)] + list(PUBLISHED) * (dim == 2)
    ]
    found = {}
    with ProcessPoolExecutor() as pool:
        for key, g, error in pool.map(best_g, cases):
            found[key] = g
            print(f"{key}: g {g}, mean square error {error:.6f}", file=sys.stderr, flush=True)
    arguments.out.write_text(json.dumps(found, indent=0) + "\n")


if __name__ == "__main__":
    main()
