"""Coded linears: products, gradients, and what a network gets back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgecomp.crvq.coded_model import CodedModel
from edgecomp.tuning.coded_linear import CodedLinear, coded_linears
from tests.edgecomp.crvq.coded_tensors import random_coded, random_model

KINDS = [((3, 16), 8, "codebooks"), ((5, 20), 8, "scalar"), ((1, 9), 0, "codebooks")]


def in_float64(model: CodedModel) -> CodedModel:
    for tensor in model.tensors.values():
        tensor.scales = tensor.scales.double()
    for group, books in model.codebooks.items():
        model.codebooks[group] = [book.double() for book in books]
    return model


def linear_of(model: CodedModel, name: str, bias: torch.Tensor | None = None) -> CodedLinear:
    books = [nn.Parameter(book.clone()) for book in model.codebooks[model.tensors[name].group]]
    return CodedLinear(model.tensors[name], nn.ParameterList(books), bias)


@pytest.mark.parametrize(("shape", "n_critical", "critical"), KINDS)
@pytest.mark.parametrize("has_bias", [False, True])
def test_product(shape, n_critical: int, critical: str, has_bias: bool) -> None:
    tensor = random_coded("w", shape, n_critical=n_critical, critical=critical)
    model = in_float64(random_model(tensor, critical=critical))
    bias = torch.randn(shape[0]).double() if has_bias else None
    x = torch.randn(2, 7, shape[1]).double()
    expected = x @ model.decode("w").T + (bias if bias is not None else 0)
    torch.testing.assert_close(linear_of(model, "w", bias)(x), expected)


@pytest.mark.parametrize(("shape", "n_critical", "critical"), KINDS)
def test_gradients_are_those_of_finite_differences(shape, n_critical, critical) -> None:
    tensor = random_coded("w", shape, n_critical=n_critical, critical=critical)
    linear = linear_of(in_float64(random_model(tensor, critical=critical)), "w")
    x = torch.randn(6, shape[1], generator=torch.Generator().manual_seed(1)).double()
    n_used = 1 + max(stage.codebook for stage in tensor.stages)
    parameters = [linear.log_scales, *list(linear.books)[:n_used]]
    assert torch.autograd.gradcheck(lambda *given: linear(x).square(), parameters)


def test_pull_is_the_gradient_by_the_stored_weights() -> None:
    tensor = random_coded("w", (3, 16))
    model = in_float64(random_model(tensor))
    linear = linear_of(model, "w")
    assert linear.pull is None
    x, wanted = torch.randn(6, 16).double(), torch.randn(6, 3).double()
    ((linear(x) - wanted) ** 2).sum().backward()
    by_weight = 2 * (x @ model.decode("w").T - wanted).T @ x
    assert linear.pull is not None
    torch.testing.assert_close(linear.pull, by_weight[:, tensor.order])


def test_zero_rows_stay_zero() -> None:
    tensor = random_coded("w", (4, 16))
    tensor.scales[1] = 0
    linear = linear_of(random_model(tensor), "w")
    x = torch.randn(5, 16)
    optimizer = torch.optim.Adam(linear.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (linear(x) - 1).square().sum().backward()
        optimizer.step()
    assert all(bool(p.isfinite().all()) for p in linear.parameters())
    assert linear.scales[1] == 0
    assert (linear.scales[[0, 2, 3]] > 0).all()
    assert (linear(x)[:, 1] == 0).all()


class Network(nn.Module):
    """Two linears in a submodule, one outside, and one that is not coded."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.ModuleDict({"a": nn.Linear(16, 8), "b": nn.Linear(8, 16, bias=False)})
        self.out = nn.Linear(16, 8)
        self.head = nn.Linear(8, 4)


def coded_network() -> tuple[Network, CodedModel, dict[str, str]]:
    model = random_model(
        random_coded("A", (8, 16), "shared"),
        random_coded("B", (16, 8), "shared", n_critical=0),
        random_coded("OUT", (8, 16), "own"),
    )
    names = {"block.a.weight": "A", "block.a.bias": "A.bias", "block.b.weight": "B",
             "out.weight": "OUT", "head.weight": "HEAD"}  # fmt: skip
    return Network(), model, names


def test_linears_are_replaced_and_put_back() -> None:
    network, model, names = coded_network()
    before = {name: module for name, module in network.named_modules() if name}
    x = torch.randn(3, 16)
    expected = x @ model.decode("A").T + network.block["a"].bias
    with coded_linears(network, model, names) as made:
        assert set(made) == {"A", "B", "OUT"}
        assert network.block["a"] is made["A"]
        assert network.out is made["OUT"]
        assert network.head is before["head"]
        torch.testing.assert_close(network.block["a"](x), expected)
        assert all(a is b for a, b in zip(made["A"].books, made["B"].books, strict=True))
        assert made["A"].books[0] is not made["OUT"].books[0]
        n_books = len({id(book) for linear in made.values() for book in linear.books})
        assert n_books == 6
    assert {name: module for name, module in network.named_modules() if name} == before


@pytest.mark.parametrize("raises", [False, True])
def test_values_are_taken_over(raises: bool) -> None:
    network, model, names = coded_network()
    first = network.block["a"]
    codes = model.tensors["A"].stages[0].codes
    books, scales = model.codebooks["shared"], model.tensors["A"].scales
    old = {"A": model.decode("A"), "B": model.decode("B"), "OUT": model.decode("OUT")}
    try:
        with coded_linears(network, model, names) as made:
            with torch.no_grad():
                made["A"].books[0].mul_(2)
                made["A"].books[1].mul_(2)
                made["A"].books[2].mul_(2)
                made["OUT"].log_scales.add_(torch.tensor(3.0).log())
            if raises:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert raises
    assert network.block["a"] is first
    torch.testing.assert_close(model.decode("A"), 2 * old["A"])
    torch.testing.assert_close(model.decode("B"), 2 * old["B"])
    torch.testing.assert_close(model.decode("OUT"), 3 * old["OUT"])
    assert not any(book.requires_grad for each in model.codebooks.values() for book in each)
    assert not any(tensor.scales.requires_grad for tensor in model.tensors.values())
    assert model.tensors["A"].stages[0].codes is codes
    torch.testing.assert_close(books[0] * 2, model.codebooks["shared"][0])
    torch.testing.assert_close(scales, model.tensors["A"].scales)


def test_nothing_but_linears_is_replaced() -> None:
    network = nn.ModuleDict({"norm": nn.LayerNorm(16), "emb": nn.Embedding(8, 16)})
    names = {"norm.weight": "A", "emb.weight": "OUT"}
    _, model, _ = coded_network()
    with coded_linears(network, model, names) as made:
        assert made == {}
