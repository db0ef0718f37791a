"""Which input columns are critical: four metrics, and the order that they give."""

from __future__ import annotations

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
    eye = torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device)
    return (hessian + hessian.T) / 2 + damping * mean * eye


def importance(
    metric: Importance,
    weight: Tensor,
    hessian: Tensor,
    dim: int,
    codewords: int,
    generator: torch.Generator,
) -> Tensor:
    """The importance of every column of weight (rows, columns), float (columns,).

    obs: max over rows of (W - Q)^2 / (2 [H^-1]_jj), the paper's (eq. 7); activation: mean over rows
    of (W - Q)^2 H_jj, that of the released code; weight: mean |W|; random: drawn. Q is a trial
    quantisation of W by one codebook (crvq.md 2.1). `hessian` is damped.
    """
    if metric == "random":
        return torch.rand(weight.shape[1], generator=generator).to(weight)
    if metric == "weight":
        return weight.abs().mean(0)
    residual = (weight - trial(weight, dim, codewords, generator)).square()
    if metric == "activation":
        return residual.mean(0) * hessian.diagonal()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian.double())).diagonal()
    return residual.amax(0) / (2 * inverse.clamp(min=1e-30)).to(weight)


def trial(weight: Tensor, dim: int, codewords: int, generator: torch.Generator) -> Tensor:
    """The weights (rows, columns) after one codebook in the order of columns as they come."""
    rows, columns = weight.shape
    padded = torch.nn.functional.pad(weight, (0, -columns % dim))
    vectors = padded.reshape(-1, dim)
    picks = torch.randperm(len(vectors), generator=generator)[:PREQUANT_VECTORS]
    codebook = kmeans(vectors[picks.to(weight.device)], codewords, PREQUANT_ITERATIONS, generator)
    return codebook[nearest(vectors, codebook)].reshape(rows, -1)[:, :columns]


def order_columns(scores: list[Tensor]) -> Tensor:
    """All columns by falling importance, int64 (columns,), for matrices that share their input.

    `scores` are those of each matrix; equal ones keep their order.
    """
    return torch.argsort(torch.stack(scores).sum(0), descending=True, stable=True)
