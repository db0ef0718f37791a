"""Which columns of which matrix are critical: the order by importance, and how many.

Of the columns in order, L_jj^2 of the Cholesky factor of H is what is left of column j's input when
all columns before it are known. Error feedback from the back to the front makes exactly that the
cost of an error in column j, so the loss that n critical columns leave is a tail sum, for every n
at once. `measured` spends the critical share of the whole model where that loss falls most per bit;
`even` gives every matrix the same share.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edgecomp.crvq.linears import Linears
from edgecomp.encode.crvq.importance import importance, order_columns

__all__ = ["ColumnPlan", "allocate", "even_groups", "plan_columns"]

# Mean square errors of a unit Gaussian in stages of 8 bits for 8 weights (crvq.md 5.3): what is
# left of a critical column's loss when that of others is 1.
CRITICAL_LOSS = {1: 0.107 / 0.3245, 2: 0.0367 / 0.3245, 3: 0.0132 / 0.3245}
MOST_CRITICAL = 0.5  # share of a matrix's columns


@dataclass(frozen=True)
class ColumnPlan:
    """A matrix's columns: which one lies at each position, and how many of them are critical."""

    name: str
    order: Tensor  # int64 (columns,)
    n_critical: int


@dataclass(frozen=True)
class Curve:
    """The loss of a matrix after 0, 1, 2 ... critical groups, and what one of them costs."""

    losses: tuple[float, ...]
    rows: int


def plan_columns(
    linears: Linears, generator: torch.Generator, show: Callable[[str, int], None]
) -> dict[str, ColumnPlan]:
    """The plan of every matrix; those that share an input share the order."""
    settings = linears.settings
    if settings.critical == 0:
        return {
            name: ColumnPlan(name, torch.arange(site.columns), 0)
            for site in linears.sites
            for name in site.tensors
        }
    orders: dict[str, Tensor] = {}
    curves: dict[str, Curve] = {}
    for site, hessian in linears.each_site(show):
        weights = {name: linears.weighted(name) for name in site.tensors}
        codewords = 1 << settings.codebook_bits
        kind, dim = settings.importance, settings.dim
        scores = [
            importance(kind, weight, hessian, dim, codewords, generator)
            for weight in weights.values()
        ]
        order = order_columns(scores)
        left = left_over(hessian[order][:, order])
        for name, weight in weights.items():
            orders[name] = order.cpu()
            energy = float(weight.square().sum()) / site.columns
            curves[name] = loss_curve(left * energy, dim, settings.extended, len(weight))
    if settings.allocation == "measured":
        groups = allocate(curves, settings.critical)
    else:
        groups = {
            name: even_groups(len(order), settings.critical, settings.dim)
            for name, order in orders.items()
        }
    return {
        name: ColumnPlan(name, order, groups[name] * settings.dim) for name, order in orders.items()
    }


def left_over(hessian: Tensor) -> Tensor:
    """L_jj^2 of the Cholesky factor, float64 (columns,)."""
    factor: Tensor = torch.linalg.cholesky(hessian.double())
    return factor.diagonal().square().cpu()


def loss_curve(costs: Tensor, dim: int, extended: int, rows: int) -> Curve:
    """The curve of a matrix from what an error costs in every column, float64 (columns,)."""
    groups = int(len(costs) / dim * MOST_CRITICAL)
    known = torch.cat([torch.zeros(1, dtype=costs.dtype), costs.cumsum(0)])
    rate = CRITICAL_LOSS.get(extended, CRITICAL_LOSS[3])
    losses = [float(known[-1] - known[g * dim] + rate * known[g * dim]) for g in range(groups + 1)]
    return Curve(tuple(losses), rows)


def even_groups(columns: int, share: float, dim: int) -> int:
    """Critical groups of a matrix for a share of its columns: rounded, one at least.

    The released code rounds down, which leaves narrow matrices without any.
    """
    return min(max(1, round(columns * share / dim)), max(1, columns // dim))


def allocate(curves: dict[str, Curve], share: float) -> dict[str, int]:
    """Critical groups of every matrix: a `share` of all groups of all rows, spent greedily.

    Each step takes the group that lowers the loss most per row, as every row has a code for it.
    """
    budget = share * sum(
        curve.rows * (len(curve.losses) - 1) / MOST_CRITICAL for curve in curves.values()
    )
    groups = dict.fromkeys(curves, 0)

    def offer(name: str) -> tuple[float, str] | None:
        losses, n = curves[name].losses, groups[name]
        if n + 1 >= len(losses):
            return None
        return (losses[n + 1] - losses[n]) / curves[name].rows, name

    heap = [best for name in curves if (best := offer(name)) is not None]
    heapq.heapify(heap)
    while heap:
        _, name = heapq.heappop(heap)
        if curves[name].rows > budget:
            continue
        budget -= curves[name].rows
        groups[name] += 1
        again = offer(name)
        if again is not None:
            heapq.heappush(heap, again)
    return groups
