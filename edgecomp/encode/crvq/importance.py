"""Which input columns are critical: four metrics, and the order that they give."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from edgecomp.encode.crvq.clusters import kmeans, nearest

__all__ = ["Importance", "damped", "importance", "order_columns"]

Importance = Literal["obs", "activation", "weight", "random"]

PREQUANT_VECTORS = 1 << 15  # that the codebook of the trial quantisation is made from
PREQUANT_ITERATIONS = 10


def damped(hessian: Tensor, damping: float) -> Tensor:
    """H + damping * mean(diag H) * I, so that it is positive definite; I for a zero matrix.

    Without that, columns whose inputs are always zero would make it singular.
    """
    mean = hessian.diagonal().mean()
    if not mean > 0:
        return torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device)
    symmetric = (hessian + hessian.T).mul_(0.5)
    symmetric.diagonal().add_(damping * mean)
    return symmetric


def importance(
    metric: Importance,
    weight: Tensor,
    hessian: Tensor,
    dim: int,
    codewords: int,
    generator: torch.Generator,
) -> Tensor:
    """The importance of every column of weight (rows, columns), float64 (columns,).

    obs: max over rows of (W - Q)^2 / (2 [H^-1]_jj), the paper's (eq. 7); activation: mean over rows
    of (W - Q)^2 H_jj, that of the released code; weight: mean |W|; random: drawn. Q is a trial
    quantisation of W by one codebook (crvq.md 2.1). `hessian` is damped.
    """
    if metric == "random":
        return torch.rand(weight.shape[1], generator=generator).double().to(weight.device)
    if metric == "weight":
        return weight.abs().mean(0).double()
    error, unit = trial_error(weight, dim, codewords, generator)
    if metric == "activation":
        return error.square().mean(0).double() * unit**2 * hessian.diagonal()
    # H = L L^T, so [H^-1]_jj is the square of column j of L^-1.
    lower = torch.linalg.cholesky(hessian.double())
    eye = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
    inverse: Tensor = torch.linalg.solve_triangular(lower, eye, upper=False).square().sum(0)
    return error.abs().amax(0).double().square() * unit**2 / (2 * inverse)


def trial_error(
    weight: Tensor, dim: int, codewords: int, generator: torch.Generator
) -> tuple[Tensor, float]:
    """Weights (rows, columns) minus one codebook's, in a unit that is given as well.

    Columns are grouped as they come. The unit is a power of two near the largest weight: squares
    of weights of 1e-20 would be 0 in float32.
    """
    columns = weight.shape[1]
    unit = math.ldexp(1.0, math.frexp(float(weight.abs().max()))[1])
    padded = torch.nn.functional.pad(weight / unit, (0, -columns % dim)).contiguous()
    vectors = padded.view(-1, dim)
    picks = torch.randperm(len(vectors), generator=generator)[:PREQUANT_VECTORS]
    codebook = kmeans(vectors[picks.to(weight.device)], codewords, PREQUANT_ITERATIONS, generator)
    vectors -= codebook.index_select(0, nearest(vectors, codebook))
    return padded[:, :columns], unit


def order_columns(scores: list[Tensor]) -> Tensor:
    """All columns by falling importance, int64 (columns,), for matrices that share their input.

    `scores` are those of each matrix; equal ones keep their order.
    """
    return torch.argsort(torch.stack(scores).sum(0), descending=True, stable=True)
