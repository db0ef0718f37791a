"""Codes that are made in turn, while a network is tuned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from edgecomp.encode.indefinite import IndefiniteError
from edgecomp.trellis.coded_model import TrellisModel, model_of
from edgecomp.trellis.in_turn import CODING_SHARE, Sources, TurnCoder, encode_linear
from edgecomp.tuning.coded_linear import CodedLinear, coded_linears
from edgecomp.tuning.tuner import Tuner, TuningError
from tests.edgecomp.trellis.trellises import encoded, weights

CPU = torch.device("cpu")
NAMES = ("a", "b", "c", "d")
SITES = (("a", "b"), ("c",), ("other",), ("d",))


class Network(nn.Module):
    """Two linears side by side, then two others."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(32, 32, bias=False) for _ in NAMES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (n, 32)."""
        found: torch.Tensor = self.d(torch.tanh(self.c(torch.relu(self.a(x)) + self.b(x))))
        return found


def matrix(name: str) -> np.ndarray:
    return weights((32, 32), NAMES.index(name)) / 6


def sources(hessian: float = 1.0) -> Sources:
    return Sources(matrix, lambda name: hessian * np.eye(32), SITES)


def problem(critical: float = 0.0) -> tuple[Network, TrellisModel, dict[str, str]]:
    """The network with float weights, and its first codes."""
    network = Network()
    with torch.no_grad():
        for name in NAMES:
            network.get_parameter(f"{name}.weight").copy_(torch.from_numpy(matrix(name)))
    model = model_of({name: encoded(matrix(name), critical=critical) for name in NAMES}, CPU)
    return network, model, {f"{name}.weight": name for name in NAMES}


@contextmanager
def turning(n_steps: int) -> Iterator[tuple[dict[str, CodedLinear], TurnCoder, Network]]:
    network, model, names = problem()
    with coded_linears(network, model, names) as linears:
        yield linears, TurnCoder(sources(), list(linears.values()), n_steps), network


@pytest.mark.parametrize("n_steps", [1, 2, 3, 8, 40])
def test_all_are_encoded_site_by_site(n_steps: int) -> None:
    with turning(n_steps) as (linears, coder, _):
        orders = []
        for _ in range(n_steps):
            orders.append([name for name in NAMES if linears[name].latent is not None])
            coder.step(1.0)
        assert orders[0] == ["c", "d"]
        assert all(left in (["c", "d"], ["d"], []) for left in orders)
        assert [len(left) for left in orders] == sorted(map(len, orders), reverse=True)
        assert all(linear.latent is None for linear in linears.values())
        if n_steps == 40:
            assert sum(1 for left in orders if left) == CODING_SHARE * n_steps
            assert ["d"] in orders


def test_float_weights_stand_in() -> None:
    with turning(4) as (linears, _, network):
        x = torch.randn(3, 32)
        torch.testing.assert_close(network.d(x), x @ torch.from_numpy(matrix("d")).T)
        assert not torch.equal(network.a(x), x @ torch.from_numpy(matrix("a")).T)
        assert linears["c"].latent is not None


@pytest.mark.parametrize("critical", [0.0, 0.25])
def test_weights_that_did_not_move_get_their_first_codes(critical: float) -> None:
    network, model, names = problem(critical)
    before = {name: model.decode(name) for name in NAMES}
    with coded_linears(network, model, names) as linears:
        coder = TurnCoder(sources(), list(linears.values()), 1)
        for linear in linears.values():
            for span in linear.tensor.spans:
                span.codes = torch.zeros_like(span.codes)
        coder.step(1.0)
    for name in ("c", "d"):
        torch.testing.assert_close(model.decode(name), before[name], rtol=2e-3, atol=1e-4)


def test_rows_weigh_as_the_settings_say() -> None:
    """Rows of one band that are 30 times as small count less or as much as others."""
    found = {}
    for power in (1.0, 0.0):
        network, model, names = problem()
        own = Sources(matrix, lambda name: None, SITES, row_power=power)
        with coded_linears(network, model, names) as linears:
            coder = TurnCoder(own, list(linears.values()), 1)
            latent = linears["d"].latent
            assert latent is not None
            with torch.no_grad():
                latent[:8] /= 30
            wanted = latent.detach().clone()
            coder.step(1.0)
        errors = (model.decode("d") - wanted)[:8].square().mean()
        found[power] = float(errors / wanted[:8].square().mean())
    assert found[0.0] < 0.8 * found[1.0]


def test_weights_that_grew_too_large_are_named() -> None:
    with turning(1) as (linears, coder, _):
        latent = linears["d"].latent
        assert latent is not None
        with torch.no_grad():
            latent.fill_(1e30)
        with pytest.raises(TuningError, match=r"tensor d: rows of 1.77e\+29"):
            coder.step(1.0)


def deep_losses(moves: bool, n_steps: int) -> list[float]:
    """Losses of a chain of linears at 1 bit, whose codes are made in turn or stay."""
    names = [f"{i}.weight" for i in range(0, 12, 2)]
    held = {name: weights((32, 32), i) / 6 for i, name in enumerate(names)}
    layers = [part for _ in names for part in (nn.Linear(32, 32, bias=False), nn.Tanh())]
    network = nn.Sequential(*layers)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.from_numpy(held[name]))
    model = model_of({name: encoded(held[name], bits=1.0) for name in names}, CPU)
    own = Sources(held.__getitem__, lambda name: np.eye(32), tuple((name,) for name in names))
    x = torch.randn(256, 32, generator=torch.Generator().manual_seed(0))
    wanted = network(x).detach()
    with coded_linears(network, model, {name: name for name in names}) as linears:
        mine = list(linears.values())
        tuner = Tuner(mine, [], n_steps, mover=TurnCoder(own, mine, n_steps) if moves else None)
        return [tuner.step((network(x) - wanted).square().mean()) for _ in range(n_steps)]


def test_tuned_in_turn_is_better_than_codes_that_stay() -> None:
    stay, move = deep_losses(False, 80), deep_losses(True, 80)
    assert move[0] < 0.7 * stay[0]  # most of it is float yet
    assert move[-1] < stay[-1]


def test_a_hessian_that_is_indefinite() -> None:
    with turning(4) as (linears, _, _):
        with pytest.raises(IndefiniteError, match="tensor c: its Hessian is not positive definite"):
            encode_linear(linears["c"], sources(-1.0))
        assert linears["c"].latent is not None


def test_rates_are_those_of_the_float_weights() -> None:
    with turning(4) as (linears, coder, _):
        rated = coder.rated()
        assert [parameters for parameters, _ in rated] == [
            [linears["c"].latent],
            [linears["d"].latent],
        ]
        ratio = rated[1][1] / rated[0][1]
        sizes = [float(np.sqrt(np.mean(matrix(name) ** 2))) for name in ("c", "d")]
        assert ratio == pytest.approx(sizes[1] / sizes[0], rel=1e-5)
