"""Scales, codebooks, expectation and maximisation: exact solves that never raise the loss."""

from __future__ import annotations

import itertools

import pytest
import torch

from edgecomp.encode.crvq.expectation import GroupedTarget, fit_codebook, weighted_codes
from edgecomp.encode.crvq.matrix import CodedMatrix, best_codes, reconstruct, weighted_loss
from edgecomp.encode.crvq.solve import gradients, solve_codebooks, solve_scales
from tests.edgecomp.encode.crvq.layers import (
    random_books,
    random_hessian,
    random_matrix,
    seeded,
)

DIM = 4


def start(n_critical: int = 16, seed: int = 1) -> tuple[CodedMatrix, list[torch.Tensor]]:
    """A matrix (60, 48) with random codes of three codebooks; of one if nothing is critical."""
    generator = seeded(seed)
    books = random_books(generator, 3 if n_critical else 1, DIM, 8)
    return random_matrix((60, 48), books, n_critical, generator), books


def test_scales_are_the_best() -> None:
    """No row's loss rises, and its derivative is 0 where the scale moved."""
    matrix, books = start()
    # Negative correlations would ask for negative scales: those rows stay.
    decoded = reconstruct(matrix, books)
    product = decoded @ matrix.hessian
    before = row_losses(matrix, decoded)
    factors = solve_scales(matrix, decoded, product)
    after = reconstruct(matrix, books)
    assert torch.allclose(after, factors[:, None] * decoded, rtol=1e-12)
    assert bool((row_losses(matrix, after) <= before * (1 + 1e-12)).all())
    slopes = ((matrix.weight - after) @ matrix.hessian * after).sum(1)
    moved = factors != 1
    assert 0 < int(moved.sum()) < len(factors)
    assert float(slopes[moved].abs().max()) < 1e-9 * float(before.max())
    assert bool((slopes[~moved] <= 0).all())


def row_losses(matrix: CodedMatrix, decoded: torch.Tensor) -> torch.Tensor:
    """Every row's share of the loss."""
    error = matrix.weight - decoded
    return ((error @ matrix.hessian) * error).sum(1)


def test_scale_of_a_row_without_codes_stays() -> None:
    """A decoded row of zeros has no best scale."""
    matrix, books = start()
    matrix.scales[3] = 0
    decoded = reconstruct(matrix, books)
    factors = solve_scales(matrix, decoded, decoded @ matrix.hessian)
    assert float(factors[3]) == 1
    assert float(matrix.scales[3]) == 0


@pytest.mark.parametrize("n_critical", [0, 16, 48])
def test_codebook_solve_is_exact(n_critical: int) -> None:
    """With enough steps the gradient vanishes; every number of steps lowers the loss."""
    matrix, books = start(n_critical)
    losses = [weighted_loss(matrix, books)]
    for steps in (1, 2, 4, 8, 400):
        losses.append(weighted_loss(matrix, solve_codebooks([matrix], books, steps)))
    assert losses == sorted(losses, reverse=True)
    solved = solve_codebooks([matrix], books, 400)
    error = matrix.weight - reconstruct(matrix, solved)
    before = gradients([matrix], [matrix.weight - reconstruct(matrix, books)], books)
    for slope, first in zip(gradients([matrix], [error], solved), before, strict=True):
        assert float(slope.abs().max()) < 1e-2 * float(first.abs().max())


def test_codebook_solve_equals_dense_least_squares() -> None:
    """One codebook for two matrices, against the normal equations of all its numbers."""
    matrices = [start(0, seed)[0] for seed in (1, 2)]
    books = start(0)[1]
    n = books[0].numel()
    system = torch.zeros(n, n, dtype=torch.float64)
    side = torch.zeros(n, dtype=torch.float64)
    for matrix in matrices:
        for row in range(matrix.rows):
            spread = torch.zeros(matrix.columns, n, dtype=torch.float64)
            for column in range(matrix.columns):
                code = int(matrix.stages[0].codes[row, column // DIM])
                spread[column, code * DIM + column % DIM] = matrix.scales[row]
            system += spread.T @ matrix.hessian @ spread
            side += spread.T @ matrix.hessian @ matrix.weight[row]
    best = [torch.linalg.solve(system, side).reshape(-1, DIM)]
    least = sum(weighted_loss(m, best) for m in matrices)
    found = sum(weighted_loss(m, solve_codebooks(matrices, books, 400)) for m in matrices)
    assert found == pytest.approx(least, rel=1e-6)


def test_unused_codewords_stay() -> None:
    """They have no gradient."""
    matrix, books = start(0)
    matrix.stages[0].codes.clamp_(max=5)
    solved = solve_codebooks([matrix], books)
    assert torch.equal(solved[0][6:], books[0][6:])
    assert not torch.allclose(solved[0][:6], books[0][:6])


def grouped_loss(part: GroupedTarget, book: torch.Tensor) -> float:
    """Sum of (w - s c) A (w - s c) over groups with their best codes."""
    codes = weighted_codes(part, book)
    target = part.target.reshape(*codes.shape, -1)
    error = target - part.scales[:, None, None] * book[codes]
    return float(torch.einsum("ogi,gij,ogj->", error, part.metric, error))


@pytest.mark.parametrize("rows", [1, 300, 5000])
def test_codes_of_groups_are_the_best(rows: int) -> None:
    """Group by group as by best_codes, however many are compared at once."""
    generator = seeded(rows)
    (book,) = random_books(generator, 1, 4, 16)
    hessian = random_hessian(80, generator)
    blocks = torch.stack([hessian[i : i + 4, i : i + 4] for i in range(0, 80, 4)])
    weight = torch.randn(rows, 80, generator=generator, dtype=torch.float64)
    part = GroupedTarget(weight, weight.square().mean(1).sqrt(), blocks)
    codes = weighted_codes(part, book)
    for group, metric in enumerate(blocks):
        pull = weight[:, 4 * group : 4 * group + 4] @ metric
        assert torch.equal(codes[:, group], best_codes(pull, part.scales, book, metric))


def test_expectation_and_maximisation_lower_the_loss() -> None:
    """Every iteration, on two matrices; far below plain k-means under a skewed metric."""
    generator = seeded(4)
    parts = []
    for rows in (200, 100):
        hessian = random_hessian(32, generator, decay=1.5)
        weight = torch.randn(rows, 32, generator=generator, dtype=torch.float64)
        blocks = torch.stack([hessian[i : i + 4, i : i + 4] for i in range(0, 32, 4)])
        parts.append(GroupedTarget(weight, weight.square().mean(1).sqrt(), blocks))
    (book,) = random_books(generator, 1, 4, 16)
    losses = []
    for _ in range(6):
        losses.append(sum(grouped_loss(part, book) for part in parts))
        book = fit_codebook(parts, book, 1)
    ridge = 1e-4  # of REGULARISATION: a step may stop that much short of its minimum
    assert all(b <= a * (1 + ridge) for a, b in itertools.pairwise(losses))
    assert losses[-1] < 0.8 * losses[0]
