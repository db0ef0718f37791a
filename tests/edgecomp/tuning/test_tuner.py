"""Steps of tuning: batches, schedule, and a loss that falls."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from edgecomp.crvq.coded_model import CodedModel
from edgecomp.crvq.moves import CodeMover
from edgecomp.tuning.coded_linear import coded_linears
from edgecomp.tuning.tuner import LAST_RATE, WARM_UP, Tuner, TuningError, batches
from tests.edgecomp.crvq.coded_tensors import random_coded, random_model


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("n", "batch"), [(7, 2), (8, 4), (5, 5), (3, 8), (1, 1)])
def test_batches_cover_all_windows_each_round(n: int, batch: int) -> None:
    size = min(batch, n)
    n_steps = 3 * n
    found = list(batches(n, batch, n_steps, seeded()))
    assert len(found) == n_steps
    assert all(len(picks) == size and picks.dtype == torch.int64 for picks in found)
    drawn = torch.cat(found).tolist()
    for first in range(0, len(drawn) - n + 1, n):
        assert sorted(drawn[first : first + n]) == list(range(n))
    again = list(batches(n, batch, n_steps, seeded()))
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_order_differs_between_rounds() -> None:
    drawn = torch.cat(list(batches(20, 5, 8, seeded()))).tolist()
    assert drawn[:20] != drawn[20:]


def small_problem() -> tuple[nn.Module, CodedModel, dict[str, str]]:
    model = random_model(random_coded("W", (12, 32)), random_coded("V", (8, 12), n_critical=0))
    network = nn.Sequential(nn.Linear(32, 12), nn.LayerNorm(12), nn.Linear(12, 8, bias=False))
    return network, model, {"0.weight": "W", "0.bias": "b", "1.weight": "n", "2.weight": "V"}


@pytest.mark.parametrize(("books", "move_rate"), [(True, 0.0), (True, 0.1), (False, 0.1)])
def test_loss_falls(books: bool, move_rate: float) -> None:
    torch.manual_seed(0)
    network, model, names = small_problem()
    x = torch.randn(64, 32)
    with torch.no_grad():
        wanted = network(x)
    norm = network.get_parameter("1.weight")
    n_steps = 60
    with coded_linears(network, model, names) as linears:
        before = [book.detach().clone() for book in linears["W"].books]
        codes = linears["W"].tensor.stages[0].codes.clone()
        scales = linears["W"].scales.detach().clone()
        mover = CodeMover(list(linears.values()), move_rate) if move_rate else None
        tuner = Tuner(list(linears.values()), [norm], n_steps, books, mover)
        losses = [tuner.step((network(x) - wanted).square().mean()) for _ in range(n_steps)]
        kept = [torch.equal(a, b) for a, b in zip(before, linears["W"].books, strict=True)]
        assert all(kept) == (not books)
        assert not torch.equal(scales, linears["W"].scales)
        moved = not torch.equal(codes, linears["W"].tensor.stages[0].codes)
        assert moved == (move_rate > 0)
    assert tuner.done == n_steps
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert not torch.equal(norm.detach(), torch.ones(12))


def test_schedule() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    tuner = Tuner([], [parameter], 100)
    fades = []
    for _ in range(100):
        fades.append(tuner.fade)
        tuner.step((parameter - 1).square().sum())
    assert fades[0] == pytest.approx(1 / WARM_UP)
    assert max(fades) == pytest.approx(fades[WARM_UP - 1], rel=0.01)
    assert all(a < b for a, b in itertools.pairwise(fades[:WARM_UP]))
    assert all(a > b for a, b in itertools.pairwise(fades[WARM_UP:]))
    assert LAST_RATE < fades[-1] < 1.1 * LAST_RATE
    rate = tuner.rates[0]
    assert tuner.optimizer.param_groups[0]["lr"] == pytest.approx(rate * fades[-1])


class Holding:
    """A mover that has a parameter and wants rates to stay for 40 steps."""

    held_steps = 40

    def __init__(self) -> None:
        self.own = nn.Parameter(torch.ones(2))
        self.fades: list[float] = []

    def rated(self) -> list[tuple[list[nn.Parameter], float]]:
        """Its parameter, at a rate of its own."""
        return [([self.own], 0.5)]

    def step(self, fade: float) -> None:
        """Notes the schedule."""
        self.fades.append(fade)


def test_a_mover_can_hold_the_rates_and_tune_parameters() -> None:
    parameter, mover = nn.Parameter(torch.zeros(3)), Holding()
    tuner = Tuner([], [parameter], 100, mover=mover)
    for _ in range(100):
        tuner.step((parameter - 1).square().sum() + mover.own.square().sum())
    assert mover.fades[WARM_UP - 1 : 41] == [1.0] * (42 - WARM_UP)
    assert all(a > b for a, b in itertools.pairwise(mover.fades[40:]))
    assert LAST_RATE < mover.fades[-1] < 1.1 * LAST_RATE
    assert tuner.rates[-1] == 0.5
    assert float(mover.own.detach().abs().max()) < 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_tuning(value: float) -> None:
    parameter = nn.Parameter(torch.zeros(3))
    tuner = Tuner([], [parameter], 10)
    tuner.step(parameter.sum())
    before = parameter.detach().clone()
    with pytest.raises(TuningError, match=f"the loss is {value} at step 2 of 10"):
        tuner.step(parameter.sum() * 0 + value)
    assert torch.equal(parameter.detach(), before)


def test_zero_codebooks_can_be_tuned() -> None:
    """Their rate is 0: they stay, and nothing becomes NaN."""
    network, model, names = small_problem()
    model.codebooks["g"] = [torch.zeros_like(book) for book in model.codebooks["g"]]
    with coded_linears(network, model, names) as linears:
        tuner = Tuner(list(linears.values()), [], 3, mover=CodeMover(list(linears.values()), 0.1))
        for _ in range(3):
            tuner.step(network(torch.ones(2, 32)).square().sum())
        assert all(bool((book == 0).all()) for book in linears["W"].books)
        assert bool(linears["W"].scales.isfinite().all())
