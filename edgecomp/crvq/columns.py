"""Which columns of which matrix are critical: the order by importance, and how many.

Of the columns in order, L_jj^2 of the Cholesky factor of H is what is left of column j's input when
all columns before it are known. That stands for the cost of an error in column j, for every number
of critical columns at once: a heuristic. Error feedback leaves critical columns to the end, where
it is near the truth; of others it is an upper bound, as less important ones make up for them too.
`measured` spends the extended codes of the whole model where they lower the loss most per bit; so a
second code may go to a costly group before the first goes to a cheap one, and stages cover fewer
and fewer groups. `even` gives every matrix the same share of columns, in all stages.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgecomp.crvq.linears import Linears
from edgecomp.encode.crvq.definite import tensor_named
from edgecomp.encode.crvq.importance import importance, order_columns

__all__ = ["ColumnPlan", "allocate", "even_groups", "plan_columns"]

# Mean square errors of a unit Gaussian: basic codes, and with one to three codes more (crvq.md
# 5.3); from then on a fourth for each bit. Of 4-bit scalars: 0.0115.
STAGE_ERRORS = (0.3245, 0.107, 0.0367, 0.0132)
SCALAR_ERROR = 0.0115
SCALAR_CODES = 3  # what 4-bit scalars cost in place of basic codes, in codes of 8 bits


@dataclass(frozen=True)
class ColumnPlan:
    """A matrix's columns: which one lies at each position, and how many each stage covers."""

    name: str
    order: Tensor  # int64 (columns,)
    critical: tuple[int, ...]  # columns of every extended stage (or of scalars), not increasing


@dataclass(frozen=True)
class Costs:
    """What an error costs in each group of a matrix's columns in order, and its rows."""

    groups: tuple[float, ...]
    rows: int
    most: int  # groups that may be critical


def plan_columns(
    linears: Linears, generator: torch.Generator, show: Callable[[str, int], None]
) -> dict[str, ColumnPlan]:
    """The plan of every matrix; those that share an input share the order."""
    settings = linears.settings
    if settings.critical == 0:
        return {
            name: ColumnPlan(name, torch.arange(site.columns), ())
            for site in linears.sites
            for name in site.tensors
        }
    scalar = settings.critical_codes == "scalar"
    orders: dict[str, Tensor] = {}
    costs: dict[str, Costs] = {}
    for site, hessian in linears.each_site(show):
        weights = {name: linears.weighted(name) for name in site.tensors}
        codewords = 1 << settings.codebook_bits
        kind, dim = settings.importance, settings.dim
        with tensor_named(site.tensors[0]):
            scores = [
                importance(kind, weight, hessian, dim, codewords, generator)
                for weight in weights.values()
            ]
            order = order_columns(scores)
            left = left_over(hessian[order][:, order])
        for name, weight in weights.items():
            orders[name] = order.cpu()
            energy = float(weight.square().sum()) / site.columns
            costs[name] = group_costs(left * energy, dim, len(weight), scalar)
    steps = code_steps(settings.extended, scalar)
    if settings.allocation == "measured":
        groups = allocate(costs, settings.critical * settings.extended, steps)
    else:
        groups = {
            name: (even_groups(len(order), settings.critical, settings.dim, scalar),) * len(steps)
            for name, order in orders.items()
        }
    return {
        name: ColumnPlan(name, order, tuple(n * settings.dim for n in groups[name] if n > 0))
        for name, order in orders.items()
    }


def code_steps(extended: int, scalar: bool) -> tuple[tuple[float, int], ...]:
    """What each further code of a critical group takes off its squared error, and its price.

    The error is relative to the weights' variance, the price in codes.
    """
    if scalar:
        return ((STAGE_ERRORS[0] - SCALAR_ERROR, SCALAR_CODES),)
    errors = list(STAGE_ERRORS)
    while len(errors) <= extended:
        errors.append(errors[-1] / 4)
    return tuple((errors[k] - errors[k + 1], 1) for k in range(extended))


def left_over(hessian: Tensor) -> Tensor:
    """L_jj^2 of the Cholesky factor, float64 (columns,)."""
    factor: Tensor = torch.linalg.cholesky(hessian.double())
    return factor.diagonal().square().cpu()


def group_costs(costs: Tensor, dim: int, rows: int, scalar: bool) -> Costs:
    """The costs of a matrix by group, from those of its columns, float64 (columns,)."""
    padded = torch.nn.functional.pad(costs, (0, -len(costs) % dim))
    groups = tuple(padded.reshape(-1, dim).sum(1).tolist())
    return Costs(groups, rows, most_groups(len(costs), dim, scalar))


def most_groups(columns: int, dim: int, scalar: bool) -> int:
    """Groups of a matrix that may be critical: whole ones, or the only one.

    Scalars leave a column to the basic codes, so a matrix of one group has none.
    """
    return (columns - 1) // dim if scalar else max(1, columns // dim)


def even_groups(columns: int, share: float, dim: int, scalar: bool) -> int:
    """Critical groups of a matrix for a share of its columns: rounded, one at least.

    The released code rounds down, which leaves narrow matrices without any.
    """
    return min(max(1, round(columns * share / dim)), most_groups(columns, dim, scalar))


def allocate(
    costs: Mapping[str, Costs], share: float, steps: Sequence[tuple[float, int]]
) -> dict[str, tuple[int, ...]]:
    """Groups that every stage of every matrix covers, not increasing: the best spending of codes.

    There are `share` codes for every group of every row; each step of `steps` says what a further
    code takes off a group's error, and its price. Greedy: the next code goes where it lowers the
    loss most per price, all rows of a matrix at once.
    """
    budget = share * sum(cost.rows * len(cost.groups) for cost in costs.values())
    covered = {name: [0] * len(steps) for name in costs}

    def offer(name: str, stage: int) -> tuple[float, str, int] | None:
        n, cost = covered[name][stage], costs[name]
        most = covered[name][stage - 1] if stage else cost.most
        if n >= most:
            return None
        gain, price = steps[stage]
        return -gain * cost.groups[n] / (price * cost.rows), name, stage

    heap = [best for name in costs if (best := offer(name, 0)) is not None]
    heapq.heapify(heap)
    while heap:
        _, name, stage = heapq.heappop(heap)
        price = steps[stage][1] * costs[name].rows
        if price > budget:
            continue
        budget -= price
        covered[name][stage] += 1
        opened = stage + 1 < len(steps) and covered[name][stage] == covered[name][stage + 1] + 1
        for candidate in (stage, stage + 1) if opened else (stage,):
            best = offer(name, candidate)
            if best is not None:
                heapq.heappush(heap, best)
    return {name: tuple(counts) for name, counts in covered.items()}
