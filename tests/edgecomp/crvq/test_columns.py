"""Which columns are critical: the order, the share, and where it is spent."""

from __future__ import annotations

import itertools

import pytest
import torch

from edgecomp.crvq.columns import (
    CRITICAL_LOSS,
    MOST_CRITICAL,
    Curve,
    allocate,
    even_groups,
    left_over,
    loss_curve,
    plan_columns,
)
from edgecomp.encode import CrvqSettings

IMPORTANCES = ["obs", "activation", "weight", "random"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def silent(name: str, i: int) -> None:
    pass


@pytest.mark.parametrize("importance", IMPORTANCES)
@pytest.mark.parametrize("allocation", ["even", "measured"])
def test_tensors_with_the_same_input_share_the_order(linears_of, importance, allocation) -> None:
    settings = CrvqSettings(
        critical=0.3, importance=importance, allocation=allocation, codebook_bits=4
    )
    linears = linears_of(settings)
    shown: list[tuple[str, int]] = []
    plans = plan_columns(linears, seeded(), lambda name, i: shown.append((name, i)))
    assert set(plans) == set(linears.names)
    assert len(linears.names) == 14
    assert shown == [(site.tensors[0], i) for i, site in enumerate(linears.sites)]
    for site in linears.sites:
        first = plans[site.tensors[0]].order
        assert sorted(first.tolist()) == list(range(site.columns))
        for name in site.tensors:
            assert torch.equal(plans[name].order, first)
            assert plans[name].n_critical % 8 == 0
            assert 0 <= plans[name].n_critical <= site.columns
    if allocation == "even":
        for site in linears.sites:
            expected = 8 * round(0.3 * site.columns / 8)
            assert {plans[name].n_critical for name in site.tensors} == {expected}


def test_the_same_seed_gives_the_same_plans(linears_of) -> None:
    settings = CrvqSettings(critical=0.2, importance="random")
    first, again, other = (
        plan_columns(linears_of(settings), seeded(seed), silent) for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name].order, again[name].order) for name in first)
    assert any(not torch.equal(first[name].order, other[name].order) for name in first)


def test_large_columns_come_first(linears_of) -> None:
    name = "model.layers.1.self_attn.o_proj.weight"
    linears = linears_of(CrvqSettings(critical=0.25, importance="weight"))
    weight = linears.weight(name).clone()
    weight[:, [5, 17]] *= 100
    changed = linears_of(CrvqSettings(critical=0.25, importance="weight"), {name: weight})
    order = plan_columns(changed, seeded(), silent)[name].order
    assert set(order[:2].tolist()) == {5, 17}


def test_no_critical_columns(linears_of) -> None:
    plans = plan_columns(linears_of(CrvqSettings(critical=0)), seeded(), silent)
    for plan in plans.values():
        assert plan.n_critical == 0
        assert torch.equal(plan.order, torch.arange(len(plan.order)))


@pytest.mark.parametrize(
    ("columns", "share", "groups"),
    [
        (576, 0.02, 1),  # of 192 x 576, where the released code has none
        (192, 0.02, 1),
        (255, 0.02, 1),
        (255, 1.0, 31),  # whole groups only
        (4096, 0.02, 10),
        (11008, 0.02, 28),
        (64, 1.0, 8),
        (8, 0.02, 1),
        (5, 0.02, 1),
        (5, 1.0, 1),
        (1, 0.5, 1),
    ],
)
def test_even_groups(columns: int, share: float, groups: int) -> None:
    assert even_groups(columns, share, 8) == groups


def test_left_over_is_what_columns_before_do_not_explain() -> None:
    x = torch.randn(500, 6, generator=seeded()).double()
    x[:, 3] = x[:, 0] - 2 * x[:, 1] + 0.1 * x[:, 3]
    found = left_over((x.T @ x / len(x)).float())
    for j in range(6):
        known, asked = x[:, :j], x[:, j]
        rest = asked
        if j:
            rest = asked - known @ torch.linalg.lstsq(known, asked[:, None]).solution[:, 0]
        assert float(found[j]) == pytest.approx(float(rest.square().mean()), rel=1e-3)


def test_loss_curve_is_a_tail_sum() -> None:
    costs = torch.arange(32, 0, -1).double()
    curve = loss_curve(costs, 8, 2, rows=7)
    assert curve.rows == 7
    assert len(curve.losses) == 1 + int(4 * MOST_CRITICAL)
    for n, loss in enumerate(curve.losses):
        head, tail = float(costs[: 8 * n].sum()), float(costs[8 * n :].sum())
        assert loss == pytest.approx(tail + CRITICAL_LOSS[2] * head)
    assert loss_curve(costs[:7], 8, 3, 1).losses == (float(costs[:7].sum()),)  # too narrow
    assert loss_curve(costs, 8, 7, 1).losses[1] == loss_curve(costs, 8, 3, 1).losses[1]


def convex(seed: int, groups: int, rows: int) -> Curve:
    """A curve whose gains fall."""
    gains = sorted(torch.rand(groups, generator=seeded(seed)).tolist(), reverse=True)
    total = sum(gains) + 1
    return Curve(tuple(total - sum(gains[:n]) for n in range(groups + 1)), rows)


def spent(curves: dict[str, Curve], groups: dict[str, int]) -> float:
    return sum(curves[name].rows * n for name, n in groups.items())


def whole(curves: dict[str, Curve]) -> float:
    return sum(curve.rows * (len(curve.losses) - 1) / MOST_CRITICAL for curve in curves.values())


def remaining(curves: dict[str, Curve], groups: dict[str, int]) -> float:
    return sum(curves[name].losses[n] for name, n in groups.items())


def test_allocation_keeps_to_its_budget() -> None:
    curves = {f"m{i}": convex(i, 3 + i, 10 * i + 7) for i in range(6)}
    previous = float("inf")
    for share in (0.0, 0.01, 0.02, 0.1, 0.3, 0.5, 1.0):
        groups = allocate(curves, share)
        assert spent(curves, groups) <= share * whole(curves) + 1e-9
        assert all(0 <= n < len(curves[name].losses) for name, n in groups.items())
        assert remaining(curves, groups) <= previous
        previous = remaining(curves, groups)
    assert all(n == 0 for n in allocate(curves, 0.0).values())
    assert groups == {name: len(curve.losses) - 1 for name, curve in curves.items()}


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4])
def test_allocation_is_the_best_one(share: float) -> None:
    """With equal rows and falling gains, the greedy one is: all others are tried."""
    curves = {f"m{i}": convex(i, 3, 5) for i in range(4)}
    budget = share * whole(curves)
    names = list(curves)
    tried = [
        dict(zip(names, numbers, strict=True)) for numbers in itertools.product(range(4), repeat=4)
    ]
    best = min(remaining(curves, groups) for groups in tried if spent(curves, groups) <= budget)
    assert remaining(curves, allocate(curves, share)) == pytest.approx(best)


def test_a_matrix_that_is_too_tall_leaves_the_budget_to_others() -> None:
    tall, low = Curve((10.0, 0.0), 100), Curve((1.0, 0.5, 0.4), 1)
    assert allocate({"tall": tall, "low": low}, 0.02) == {"tall": 0, "low": 2}
    assert allocate({}, 0.5) == {}
