"""Which columns are critical: the order, the share, and where it is spent."""

from __future__ import annotations

import itertools

import pytest
import torch

from edgecomp.crvq.columns import (
    SCALAR_CODES,
    STAGE_ERRORS,
    Costs,
    allocate,
    code_steps,
    even_groups,
    group_costs,
    left_over,
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
            critical = plans[name].critical
            assert all(n % 8 == 0 and 0 < n <= site.columns for n in critical)
            assert sorted(critical, reverse=True) == list(critical)
    if allocation == "even":
        for site in linears.sites:
            expected = (8 * round(0.3 * site.columns / 8),) * 3
            assert {plans[name].critical for name in site.tensors} == {expected}


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
        assert plan.critical == ()
        assert torch.equal(plan.order, torch.arange(len(plan.order)))


def test_scalars_have_one_extent(linears_of) -> None:
    for allocation in ("even", "measured"):
        settings = CrvqSettings(critical=0.3, critical_codes="scalar", allocation=allocation)
        plans = plan_columns(linears_of(settings), seeded(), silent)
        assert {len(plan.critical) for plan in plans.values()} <= {0, 1}
        assert any(plan.critical for plan in plans.values())


@pytest.mark.parametrize(
    ("columns", "share", "codebooks", "scalars"),
    [
        (576, 0.02, 1, 1),  # of 192 x 576, where the released code has none
        (192, 0.02, 1, 1),
        (255, 0.02, 1, 1),
        (255, 1.0, 31, 31),  # whole groups only
        (4096, 0.02, 10, 10),
        (11008, 0.02, 28, 28),
        (64, 1.0, 8, 7),  # a column that is not a scalar must be left
        (9, 0.02, 1, 1),
        (8, 0.02, 1, 0),
        (5, 0.02, 1, 0),
        (5, 1.0, 1, 0),
        (1, 0.5, 1, 0),
    ],
)
def test_even_groups(columns: int, share: float, codebooks: int, scalars: int) -> None:
    assert even_groups(columns, share, 8, scalar=False) == codebooks
    assert even_groups(columns, share, 8, scalar=True) == scalars


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


def test_costs_of_groups() -> None:
    assert group_costs(torch.arange(1.0, 7.0), 4, 3, False) == Costs((10.0, 11.0), 3, 1)
    assert group_costs(torch.arange(1.0, 9.0), 4, 3, False) == Costs((10.0, 26.0), 3, 2)
    assert group_costs(torch.arange(1.0, 9.0), 4, 3, True) == Costs((10.0, 26.0), 3, 1)
    assert group_costs(torch.ones(1), 8, 2, False) == Costs((1.0,), 2, 1)
    assert group_costs(torch.ones(1), 8, 2, True) == Costs((1.0,), 2, 0)


@pytest.mark.parametrize("extended", [1, 2, 3, 7])
def test_steps_take_the_error_down_to_that_of_all_codes(extended: int) -> None:
    steps = code_steps(extended, scalar=False)
    assert len(steps) == extended
    errors = [STAGE_ERRORS[0]]
    for gain, price in steps:
        assert price == 1
        errors.append(errors[-1] - gain)
    expected = [*STAGE_ERRORS, *(STAGE_ERRORS[3] / 4**k for k in range(1, 5))]
    assert errors == pytest.approx(expected[: extended + 1])
    ((gain, price),) = code_steps(extended, scalar=True)
    assert (0 < gain < STAGE_ERRORS[0], price) == (True, SCALAR_CODES)


STEPS = code_steps(3, scalar=False)


def falling(seed: int, groups: int, rows: int) -> Costs:
    """Costs that fall from group to group."""
    drawn = torch.rand(groups, generator=seeded(seed)).tolist()
    return Costs(tuple(sorted(drawn, reverse=True)), rows, groups)


def spent(costs: dict[str, Costs], covered: dict[str, tuple[int, ...]]) -> int:
    return sum(costs[name].rows * sum(counts) for name, counts in covered.items())


def taken_off(costs: dict[str, Costs], covered: dict[str, tuple[int, ...]]) -> float:
    return sum(
        gain * sum(costs[name].groups[:n])
        for name, counts in covered.items()
        for (gain, _), n in zip(STEPS, counts, strict=True)
    )


def test_allocation_keeps_to_its_budget() -> None:
    costs = {f"m{i}": falling(i, 6 + 2 * i, 10 * i + 7) for i in range(6)}
    codes = sum(cost.rows * len(cost.groups) for cost in costs.values())
    previous = -1.0
    for share in (0.0, 0.01, 0.06, 0.2, 0.5, 1.0, 1.5, 3.0):
        covered = allocate(costs, share, STEPS)
        assert spent(costs, covered) <= share * codes + 1e-9
        for name, counts in covered.items():
            assert list(counts) == sorted(counts, reverse=True)
            assert 0 <= counts[-1] <= counts[0] <= costs[name].most
        assert taken_off(costs, covered) >= previous
        previous = taken_off(costs, covered)
        if share == 0:
            assert set(covered.values()) == {(0, 0, 0)}
    assert covered == {name: (len(c.groups),) * 3 for name, c in costs.items()}


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4, 0.8])
def test_allocation_is_the_best_one(share: float) -> None:
    """With equal rows and falling costs the greedy one is: all others are tried."""
    costs = {f"m{i}": falling(i, 6, 5) for i in range(3)}
    budget = share * 3 * 6 * 5
    each = [
        counts for counts in itertools.product(range(7), repeat=3)
        if list(counts) == sorted(counts, reverse=True)
    ]  # fmt: skip
    tried = [
        dict(zip(costs, numbers, strict=True)) for numbers in itertools.product(each, repeat=3)
    ]
    best = max(taken_off(costs, c) for c in tried if spent(costs, c) <= budget)
    assert taken_off(costs, allocate(costs, share, STEPS)) == pytest.approx(best)


def test_a_matrix_that_is_too_tall_leaves_the_budget_to_others() -> None:
    tall, low = Costs((10.0,) * 4, 100, 4), Costs((1.0, 0.5, 0.4, 0.1), 1, 2)
    steps = ((0.2, 1),)
    assert allocate({"tall": tall, "low": low}, 0.02, steps) == {"tall": (0,), "low": (2,)}
    assert allocate({}, 0.5, steps) == {}


def test_scalars_cost_more() -> None:
    costs = {"m": Costs((4.0, 3.0, 2.0, 1.0), 10, 3)}
    scalars = code_steps(3, scalar=True)
    assert allocate(costs, 2.9 / 4, scalars) == {"m": (0,)}
    assert allocate(costs, 3.1 / 4, scalars) == {"m": (1,)}
