"""Companding: the inverse normal distribution as a table of integers.

Points that are uniform in a box become Gaussian when every coordinate goes through the inverse
normal distribution, which is worth about 2 dB on Gaussian weights (hyper.md 5.2).
"""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

LEVELS = 1024
LARGEST = (1 << 15) - 1
# Standard deviations of the points' distribution per standard deviation of the weights, by dim. A
# little above the best on Gaussian weights (1.6, 1.45, 1.3, 1.25, says
# `python benchmarks/search_generators.py --stretch`), because trained weights have heavier tails:
# at 1.3 bookworm's embedding has 1 % less error at 4 bits and 3 % less at 6 bits than at 1.25, its
# other matrices 1 % more.
STRETCH = {1: 1.65, 2: 1.45, 3: 1.35, 4: 1.3}


@lru_cache(maxsize=1)
def normal_table() -> tuple[int, ...]:
    """Quantiles (i + 1/2) / LEVELS of the normal distribution; the last is scaled to LARGEST."""
    quantiles = [NormalDist().inv_cdf((i + 0.5) / LEVELS) for i in range(LEVELS)]
    return tuple(round(q * LARGEST / quantiles[-1]) for q in quantiles)


def normal_unit(dim: int) -> float:
    """Table value that stands for one standard deviation of the weights."""
    return stretched_unit(STRETCH[dim])


def stretched_unit(stretch: float) -> float:
    """The same for another stretch."""
    return LARGEST / (stretch * NormalDist().inv_cdf(1 - 0.5 / LEVELS))


def uniform_unit(bits: float, levels: int) -> float:
    """The same without a table: a box of side 2.6 + 0.69 bits standard deviations.

    That is the side with the least mean square error at 2 to 6 bits per weight (hyper.md 5.2).
    """
    return 2 * levels / (2.6 + 0.69 * bits)
