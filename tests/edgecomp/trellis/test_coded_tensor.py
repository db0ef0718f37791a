"""Trellis tensors: what they decode to, products, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgecomp.trellis.coded_model import encoded_tensors, model_of
from edgecomp.trellis.lookup import looked_up, rotated
from edgecomp.tuning.coded_linear import CodedLinear
from runtime_ops import reference
from tests.edgecomp.trellis.trellises import encoded, weights

CPU = torch.device("cpu")
CASES = [
    {"bits": 2.0},
    {"bits": 1.0},
    {"bits": 1.5, "rotate": False},
    {"bits": 2.0, "critical": 0.1},
]
SHAPE = (20, 80)


def linear_of(case: dict[str, float], bias: bool = False) -> CodedLinear:
    model = model_of({"a.0.w": encoded(weights(SHAPE), **case)}, CPU)
    tensor = model.tensors["a.0.w"]
    tensor.scales = tensor.scales.double()
    tables = [torch.nn.Parameter(table.double()) for table in model.codebooks[tensor.group]]
    for span in tensor.spans:
        span.signs = span.signs.double()
    given = torch.randn(SHAPE[0]).double() if bias else None
    return CodedLinear(tensor, torch.nn.ParameterList(tables), given)


@pytest.mark.parametrize("case", CASES)
def test_decodes_as_a_file_does(case: dict[str, float]) -> None:
    tensor = encoded(weights(SHAPE), **case)
    model = model_of({"a.0.w": tensor}, CPU)
    expected = reference.decode(tensor).reshape(SHAPE)
    torch.testing.assert_close(model.decode("a.0.w"), torch.from_numpy(expected))
    ((name, again),) = encoded_tensors(model)
    assert name == "a.0.w"
    assert again.format.part_specs(SHAPE) == tensor.format.part_specs(SHAPE)
    for part in tensor.parts:
        if part.endswith("codes"):
            np.testing.assert_array_equal(again.parts[part], tensor.parts[part])
    np.testing.assert_allclose(
        reference.decode(again).reshape(SHAPE), expected, rtol=2e-3, atol=1e-7
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("bias", [False, True])
def test_product(case: dict[str, float], bias: bool) -> None:
    linear = linear_of(case, bias)
    x = torch.randn(2, 5, SHAPE[1]).double()
    weight = linear.tensor.decode([table.detach() for table in linear.books])
    expected = x @ weight.T + (linear.bias if bias else 0)
    torch.testing.assert_close(linear(x), expected)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_finite_differences(case: dict[str, float]) -> None:
    linear = linear_of(case)
    x = torch.randn(3, SHAPE[1], generator=torch.Generator().manual_seed(1)).double()
    alive = linear.log_scales.detach().clone()

    def squares(*tables: torch.Tensor) -> torch.Tensor:
        stored = linear.tensor.stored(alive.exp(), tables)
        return linear.tensor.product(x, stored, None).square().sum()

    assert torch.autograd.gradcheck(squares, list(linear.books))


def test_gradient_of_a_table_is_the_sum_over_its_places() -> None:
    places = torch.tensor([[3, 0, 3], [1, 3, 0]], dtype=torch.uint8)
    table = torch.arange(4.0, requires_grad=True)
    found = looked_up(places, table)
    torch.testing.assert_close(found, torch.tensor([[3.0, 0, 3], [1, 3, 0]]))
    found.backward(torch.tensor([[1.0, 2, 4], [8, 16, 32]]))
    torch.testing.assert_close(table.grad, torch.tensor([34.0, 8, 0, 21]))


@pytest.mark.parametrize("block", [2, 4, 8, 64])
def test_rotation_is_the_reference(block: int) -> None:
    x = np.random.default_rng(block).normal(size=(3, 2 * block)).astype(np.float32)
    expected = torch.from_numpy(reference.hadamard(x, block))
    torch.testing.assert_close(rotated(torch.from_numpy(x), block), expected, rtol=1e-5, atol=1e-5)


def test_zero_rows_stay_zero() -> None:
    linear = linear_of({"bits": 2.0})
    optimizer = torch.optim.Adam(linear.parameters(), lr=0.1)
    x = torch.randn(5, SHAPE[1]).double()
    for _ in range(3):
        optimizer.zero_grad()
        (linear(x) - 1).square().sum().backward()
        optimizer.step()
    assert all(bool(p.isfinite().all()) for p in linear.parameters())
    assert bool((linear(x)[:, 1] == 0).all())
