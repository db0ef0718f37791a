"""Error feedback, its factor, and importance: against numpy and direct computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgecomp.encode.crvq.clusters import nearest
from edgecomp.encode.crvq.feedback import encode_with_feedback, upper_factor
from edgecomp.encode.crvq.importance import damped, importance, order_columns, trial_error
from edgecomp.encode.crvq.matrix import weighted_loss
from tests.edgecomp.encode.crvq.layers import (
    random_books,
    random_hessian,
    random_matrix,
    seeded,
)


@pytest.mark.parametrize("columns", [1, 8, 50])
def test_upper_factor(columns: int) -> None:
    """Upper triangular, its square is H, and it is numpy's factor of H^-1 inverted."""
    hessian = random_hessian(columns, seeded(columns))
    factor = upper_factor(hessian).numpy()
    assert np.array_equal(factor, np.triu(factor))
    assert np.allclose(factor @ factor.T, hessian.numpy(), rtol=1e-10)
    inverse = np.linalg.cholesky(np.linalg.inv(hessian.numpy())).T  # U, H^-1 = U^T U
    assert np.allclose(np.linalg.inv(inverse), factor, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("dim", "columns", "n_critical"), [(8, 64, 0), (8, 296, 16), (1, 150, 3)])
def test_feedback_tells_its_loss_and_beats_plain_codes(
    dim: int, columns: int, n_critical: int
) -> None:
    """On correlated inputs, against every group's nearest codewords; the loss is the true one."""
    generator = seeded(6)
    books = random_books(generator, 3 if n_critical else 1, dim, 16)
    matrix = random_matrix((40, columns), books, n_critical, generator)
    told = encode_with_feedback(matrix, books, dim)
    assert told == pytest.approx(weighted_loss(matrix, books), rel=1e-9)
    left = matrix.weight / matrix.scales[:, None]
    for stage in matrix.stages:
        part = left[:, stage.first : stage.last].reshape(-1, dim)
        codes = nearest(part, books[stage.codebook])
        stage.codes = codes.reshape(40, -1)
        part = part - books[stage.codebook][codes]
        left[:, stage.first : stage.last] = part.reshape(40, -1)
    assert told < 0.7 * weighted_loss(matrix, books)


def test_feedback_by_hand() -> None:
    """Two columns, codewords -1 and 1: the second one makes up for the first one's error."""
    books = [torch.tensor([[-1.0], [1.0]], dtype=torch.float64)]
    matrix = random_matrix((1, 2), books, 0, seeded(0))
    matrix.weight = torch.tensor([[0.1, 0.1]], dtype=torch.float64)
    matrix.scales = torch.ones(1, dtype=torch.float64)
    matrix.hessian = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    encode_with_feedback(matrix, books, 1)
    # The error -0.9 of the first makes the second one's target 0.1 - 0.9 * 0.9 = -0.71.
    assert matrix.stages[0].codes.tolist() == [[1, 0]]


def outlier_layer(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights (300, 400), a Hessian, and the 8 columns (2 %) whose inputs are 10 times as large."""
    generator = seeded(seed)
    hessian = random_hessian(400, generator, decay=0.3)
    channels = torch.randperm(400, generator=generator)[:8]
    gains = torch.ones(400, dtype=torch.float64)
    gains[channels] = 10
    weight = torch.randn(300, 400, generator=generator, dtype=torch.float64)
    return weight, hessian * gains[:, None] * gains, channels


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_activations_tell_outlier_channels(seed: int) -> None:
    """Both metrics that see H put them in front; weights alone and chance do not."""
    weight, hessian, channels = outlier_layer(seed)
    wanted = set(channels.tolist())
    found = {}
    for kind in ("activation", "obs", "weight", "random"):
        scores = importance(kind, weight, hessian, 8, 256, seeded(seed))
        order = order_columns([scores])
        assert sorted(order.tolist()) == list(range(400))
        found[kind] = len(wanted & set(order[:8].tolist()))
    assert found["activation"] == 8
    assert found["obs"] == 8
    assert found["weight"] <= 2
    assert found["random"] <= 2


@pytest.mark.parametrize("columns", [32, 37])
def test_importance_is_its_formula(columns: int) -> None:
    """Against numpy, column by column, also where the last group is not full."""
    generator = seeded(7)
    hessian = random_hessian(columns, generator)
    weight = torch.randn(50, columns, generator=generator, dtype=torch.float64)
    error, unit = trial_error(weight, 8, 16, seeded(1))
    squares = (error.numpy() * unit) ** 2
    inverse = np.linalg.inv(hessian.numpy()).diagonal()
    obs = importance("obs", weight, hessian, 8, 16, seeded(1)).numpy()
    assert np.allclose(obs, squares.max(0) / (2 * inverse), rtol=1e-8)
    activation = importance("activation", weight, hessian, 8, 16, seeded(1)).numpy()
    assert np.allclose(activation, squares.mean(0) * hessian.numpy().diagonal(), rtol=1e-8)
    plain = importance("weight", weight, hessian, 8, 16, seeded(1)).numpy()
    assert np.allclose(plain, np.abs(weight.numpy()).mean(0))


@pytest.mark.parametrize("size", [1e-20, 1.0, 1e15])
def test_importance_of_any_size(size: int) -> None:
    """The order of columns does not depend on the size of weights, in float32."""
    weight, hessian, _ = outlier_layer(4)
    for kind in ("activation", "obs"):
        order = order_columns([importance(kind, weight.float(), hessian.float(), 8, 64, seeded(2))])
        scaled = (weight * size).float()
        again = order_columns([importance(kind, scaled, hessian.float(), 8, 64, seeded(2))])
        assert set(again[:8].tolist()) == set(order[:8].tolist())


def test_order_is_shared_and_stable() -> None:
    """Scores of matrices with one input are added; equal columns stay as they come."""
    first, second = torch.tensor([1.0, 0, 5, 0]), torch.tensor([0.0, 2, 0, 0])
    assert order_columns([first]).tolist() == [2, 0, 1, 3]
    assert order_columns([first, second]).tolist() == [2, 1, 0, 3]


def test_damped_is_positive_definite() -> None:
    """Also of rank 1, with columns of zeros, and of nothing at all; symmetric, by the formula."""
    x = torch.randn(1, 20, generator=seeded(3))
    x[:, 5] = 0
    hessian = x.T @ x
    made = damped(hessian, 0.01)
    expected = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(20)
    assert torch.allclose(made, expected)
    assert torch.equal(made, made.T)
    assert float(torch.linalg.eigvalsh(made.double()).min()) > 0
    assert torch.equal(damped(torch.zeros(4, 4), 0.01), torch.eye(4))
