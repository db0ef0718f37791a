"""The best codebooks and scales for given codes: both are least squares.

The loss is quadratic in all codewords of all stages together. Its gradient is a scatter-add of
s (E H) by code; the systems (sum s^2 A) of single codewords precondition conjugate gradients
(crvq.md 5.4, item 4). A row's best scale has a closed form.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgecomp.encode.crvq.definite import tensor_named
from edgecomp.encode.crvq.expectation import codeword_weights
from edgecomp.encode.crvq.matrix import Codebooks, CodedMatrix, reconstruct

__all__ = ["solve_codebooks", "solve_scales"]

ITERATIONS = 12
TOLERANCE = 1e-6  # of the preconditioned residual's square, relative to the first
RIDGE = 1e-6  # of the preconditioner alone


def solve_scales(matrix: CodedMatrix, decoded: Tensor, product: Tensor) -> Tensor:
    """Sets every row's scale to its best and returns the factors, float (rows,).

    The factor of a row v of `decoded` is (v H w) / (v H v); 1 where that is not a positive number.
    `product` is decoded @ H, both float (rows, columns).
    """
    above = (product * matrix.weight).sum(1)
    below = (product * decoded).sum(1)
    best = above / below.clamp(min=torch.finfo(below.dtype).tiny)
    factors = torch.where((below > 0) & (best > 0), best, torch.ones_like(best))
    matrix.scales = matrix.scales * factors
    return factors


def solve_codebooks(
    matrices: Sequence[CodedMatrix], codebooks: Codebooks, iterations: int = ITERATIONS
) -> list[Tensor]:
    """The codebooks with the least loss for these codes and scales, by conjugate gradients.

    IndefiniteError, with the first matrix's name, where the Hessians have no least loss.
    """
    with tensor_named(matrices[0].name):
        factors = [torch.linalg.cholesky(p) for p in preconditioners(matrices, codebooks)]
    found = [book.clone() for book in codebooks]
    errors = [m.weight - reconstruct(m, found) for m in matrices]
    residual = gradients(matrices, errors, codebooks)
    step = precondition(factors, residual)
    direction = [s.clone() for s in step]
    size = first = dot(residual, step)
    for _ in range(iterations):
        if not size > TOLERANCE * first:
            break
        changes = [reconstruct(m, direction) for m in matrices]
        curved = gradients(matrices, changes, codebooks)
        curvature = dot(direction, curved)
        if not curvature > 0:
            break
        length = size / curvature
        for i in range(len(found)):
            found[i] += length * direction[i]
            residual[i] -= length * curved[i]
        step = precondition(factors, residual)
        previous, size = size, dot(residual, step)
        for i in range(len(found)):
            direction[i] = step[i] + (size / previous) * direction[i]
    return found


def gradients(
    matrices: Sequence[CodedMatrix], errors: Sequence[Tensor], codebooks: Codebooks
) -> list[Tensor]:
    """Half the loss's falling gradient by codeword, float (codewords, dim) for every codebook."""
    sums = [torch.zeros_like(book) for book in codebooks]
    for matrix, error in zip(matrices, errors, strict=True):
        pulls = matrix.scales[:, None] * (error @ matrix.hessian)
        for stage in matrix.stages:
            part = pulls[:, stage.first : stage.last]
            dim = codebooks[stage.codebook].shape[1]
            sums[stage.codebook].index_add_(0, stage.codes.reshape(-1), part.reshape(-1, dim))
    return sums


def preconditioners(matrices: Sequence[CodedMatrix], codebooks: Codebooks) -> list[Tensor]:
    """sum s^2 A of every codeword, with a small ridge, float (codewords, dim, dim) each."""
    sums = [torch.zeros(len(b), b.shape[1] ** 2).to(b) for b in codebooks]
    for matrix in matrices:
        for stage in matrix.stages:
            book = codebooks[stage.codebook]
            metric = matrix.metric(stage.first, book.shape[1], stage.codes.shape[1])
            weights = codeword_weights(stage.codes, matrix.scales, len(book))
            sums[stage.codebook] += weights @ metric.flatten(1)
    made = []
    for flat, book in zip(sums, codebooks, strict=True):
        dim = book.shape[1]
        systems = flat.reshape(-1, dim, dim)
        sizes = systems.diagonal(dim1=1, dim2=2).mean(1)
        ridge = RIDGE * (sizes + sizes.mean())
        ridge = torch.where(ridge > 0, ridge, torch.ones_like(ridge))
        eye = torch.eye(dim, dtype=book.dtype, device=book.device)
        made.append(systems + ridge[:, None, None] * eye)
    return made


def precondition(factors: Sequence[Tensor], residual: Sequence[Tensor]) -> list[Tensor]:
    """The residual divided by the preconditioner."""
    return [
        torch.cholesky_solve(r[..., None], factor)[..., 0]
        for r, factor in zip(residual, factors, strict=True)
    ]


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """The inner product of two lists of tensors."""
    return sum(float((x * y).sum()) for x, y in zip(a, b, strict=True))
