"""How much an error of every output counts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from edgecomp.encode import CrvqSettings
from edgecomp.tuning.tune_model import output_fisher, steps_of, vector_parameters
from edgecomp.tuning.tuner import TuningError


class Network(nn.Module):
    """Embeddings, two linears, and logits of a vocabulary of 7; `in_place` as Falcon's blocks."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.in_place = in_place
        self.embeddings = nn.Embedding(7, 5)
        self.first = nn.Linear(5, 6)
        self.second = nn.Linear(6, 7, bias=False)
        self.norm = nn.LayerNorm(6)

    def forward(self, input_ids: Tensor, use_cache: bool) -> SimpleNamespace:
        """The logits of every token."""
        hidden = self.first(self.embeddings(input_ids))
        if self.in_place:
            hidden += 0.5
        else:
            hidden = hidden + 0.5
        return SimpleNamespace(logits=self.second(self.norm(hidden)))


class Steep(Network):
    """The same with finite logits, whose gradient by the first linear's outputs is 0 * inf."""

    def forward(self, input_ids: Tensor, use_cache: bool) -> SimpleNamespace:
        """The logits of every token."""
        hidden = self.first(self.embeddings(input_ids))
        return SimpleNamespace(logits=self.second((0 * hidden).sqrt()))


NAMES = {"first.weight": "A", "second.weight": "B", "norm.weight": "n", "first.bias": "a"}


def fisher(network: nn.Module, tokens: Tensor, seed: int = 0) -> dict[str, Tensor]:
    return output_fisher(network, NAMES, tokens, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("in_place", [False, True])
def test_squares_of_gradients(in_place: bool) -> None:
    """Of logits the expected square is p (1 - p): there are enough draws to see it."""
    network = Network(in_place)
    tokens = torch.randint(0, 7, (40, 200), generator=torch.Generator().manual_seed(1))
    found = fisher(network, tokens)
    assert {name: weights.shape for name, weights in found.items()} == {"A": (6,), "B": (7,)}
    with torch.no_grad():
        p = network(tokens, False).logits.softmax(-1)
    expected = (p * (1 - p)).mean((0, 1))
    torch.testing.assert_close(found["B"], expected, rtol=0.1, atol=0)
    hidden = network.first(network.embeddings(tokens)).detach().requires_grad_(True)
    logits = network.second(network.norm(hidden + 0.5))
    total = torch.zeros(6)
    for k in range(7):  # the exact mean over what could be drawn
        (gradient,) = torch.autograd.grad(
            logits.log_softmax(-1)[..., k].sum(), hidden, retain_graph=True
        )
        total += (p[..., k, None] * gradient.square()).mean((0, 1))
    torch.testing.assert_close(found["A"], total, rtol=0.15, atol=0)


def test_hooks_are_removed_and_the_seed_decides() -> None:
    network = Network(False)
    tokens = torch.arange(14).reshape(2, 7) % 7
    first, again, other = (fisher(network, tokens, seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["A"], other["A"])
    assert not network.first._forward_hooks
    assert all(parameter.grad is None for parameter in network.parameters())


def test_vectors_are_norms_and_biases() -> None:
    found = vector_parameters(Network(False), NAMES)
    assert set(found) == {"n", "a"}


@pytest.mark.parametrize(
    ("windows", "length", "epochs", "steps"),
    [(16, 32, 1.0, 1), (16, 32, 0.1, 1), (129, 256, 1.0, 16), (10, 4096, 2.0, 20)],
)
def test_steps(windows: int, length: int, epochs: float, steps: int) -> None:
    tokens = torch.zeros(windows, length, dtype=torch.int64)
    assert steps_of(tokens, epochs) == steps


def test_block_tuning_is_shorter_when_more_follows() -> None:
    assert CrvqSettings(epochs=2.0).block_epochs == 0.5
    assert CrvqSettings(epochs=2.0, finetune="block").block_epochs == 2.0


def test_what_is_not_finite_is_an_error() -> None:
    tokens = torch.randint(0, 7, (2, 16), generator=torch.Generator().manual_seed(1))
    overflows = Network(False)
    with torch.no_grad():
        overflows.second.weight.fill_(3e38)
    with pytest.raises(TuningError, match="logits are not finite"):
        fisher(overflows, tokens)
    with pytest.raises(TuningError, match="gradients of the outputs of tensor A are not finite"):
        fisher(Steep(False), tokens)
