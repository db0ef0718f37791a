"""Random layers, and matrices with random codes, that the tests here start from."""

from __future__ import annotations

import torch
from torch import Tensor

from edgecomp.encode.crvq.matrix import CodedMatrix, Stage


def seeded(seed: int) -> torch.Generator:
    """A generator."""
    return torch.Generator().manual_seed(seed)


def random_hessian(columns: int, generator: torch.Generator, decay: float = 1.0) -> Tensor:
    """A positive definite matrix of correlated inputs, float64; `decay` of its spectrum."""
    mix = torch.randn(columns, columns, generator=generator, dtype=torch.float64)
    mix *= torch.arange(1, columns + 1, dtype=torch.float64)[:, None] ** (-decay)
    hessian = mix.T @ mix
    return hessian + 0.01 * hessian.diagonal().mean() * torch.eye(columns, dtype=torch.float64)


def random_books(generator: torch.Generator, stages: int, dim: int, codewords: int) -> list[Tensor]:
    """Codebooks of falling size, float64."""
    return [
        torch.randn(codewords, dim, generator=generator, dtype=torch.float64) * 0.5**k
        for k in range(stages)
    ]


def random_matrix(
    shape: tuple[int, int], books: list[Tensor], n_critical: int, generator: torch.Generator
) -> CodedMatrix:
    """A matrix with random codes, float64: books[0] for all columns, the others for critical ones.

    A book of dimension 1 is for critical columns that books[0] then leaves out.
    """
    rows, columns = shape
    scalar = len(books) > 1 and books[1].shape[1] == 1
    stages = []
    for k, book in enumerate(books):
        first, last = (n_critical if scalar else 0, columns) if k == 0 else (0, n_critical)
        groups = (last - first) // book.shape[1]
        codes = torch.randint(len(book), (rows, groups), generator=generator)
        stages.append(Stage(k, first, last, codes))
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    scales = weight.square().mean(1).sqrt()
    hessian = random_hessian(columns, generator)
    return CodedMatrix("random", weight, hessian, scales, stages, n_critical)
