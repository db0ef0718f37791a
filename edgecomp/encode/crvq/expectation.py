"""Codebooks for many matrices at once, by Hessian-weighted expectation and maximisation.

Expectation gives every group the codeword with the least loss under the group's block A of the
Hessian; maximisation solves, for every codeword, the small system
(sum s^2 A) c = sum s A w over its groups (crvq.md 5.4, item 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgecomp.encode.crvq.matrix import first_least

__all__ = ["GroupedTarget", "fit_codebook", "weighted_codes"]

PIECE = 1 << 12  # groups compared with all codewords at once
REGULARISATION = 1e-4  # of a codeword's system, towards where it was


@dataclass
class GroupedTarget:
    """What a codebook has to hit: weights (rows, groups * dim), scales, metric per group."""

    target: Tensor
    scales: Tensor  # (rows,)
    metric: Tensor  # (groups, dim, dim)

    @property
    def asked(self) -> Tensor:
        """A w of every group, float (rows, groups, dim)."""
        groups, dim = self.metric.shape[:2]
        return torch.einsum("ogi,gij->ogj", self.target.reshape(-1, groups, dim), self.metric)


def weighted_codes(part: GroupedTarget, codebook: Tensor) -> Tensor:
    """The best codes of every group by itself, int64 (rows, groups); see best_codes.

    Some groups at a time, so that few rows make as large a product as many.
    """
    inverse = torch.where(part.scales > 0, 1 / part.scales, torch.zeros_like(part.scales))
    pulls = part.asked * inverse[:, None, None]
    norms = torch.einsum("ci,gij,cj->gc", codebook, part.metric, codebook)
    rows, groups, dim = pulls.shape
    step = max(1, PIECE // max(rows, 1))
    codes = []
    for first in range(0, groups, step):
        pull = pulls[:, first : first + step]
        scores = (pull.reshape(-1, dim) @ (-2 * codebook.T)).view(rows, -1, len(codebook))
        scores += norms[first : first + step]
        codes.append(first_least(scores.view(-1, len(codebook))).view(rows, -1))
    return torch.cat(codes, 1)


def fit_codebook(parts: Sequence[GroupedTarget], codebook: Tensor, iterations: int) -> Tensor:
    """The codebook after some iterations on all parts together, float (codewords, dim)."""
    asked = [part.asked for part in parts]
    for _ in range(iterations):
        systems = torch.zeros(len(codebook), codebook.shape[1] ** 2).to(codebook)
        sides = torch.zeros_like(codebook)
        for part, pulls in zip(parts, asked, strict=True):
            codes = weighted_codes(part, codebook)
            systems += codeword_weights(codes, part.scales, len(codebook)) @ part.metric.flatten(1)
            weighted = part.scales[:, None, None] * pulls
            sides.index_add_(0, codes.reshape(-1), weighted.reshape(-1, codebook.shape[1]))
        codebook = solve_codewords(systems, sides, codebook)
    return codebook


def codeword_weights(codes: Tensor, scales: Tensor, codewords: int) -> Tensor:
    """Sum of s^2 over the rows that use a codeword in a group, float (codewords, groups)."""
    groups = codes.shape[1]
    sums = torch.zeros(codewords * groups).to(scales)
    places = codes * groups + torch.arange(groups, device=codes.device)
    sums.index_add_(0, places.reshape(-1), scales.square().repeat_interleave(groups))
    return sums.reshape(codewords, groups)


def solve_codewords(systems: Tensor, sides: Tensor, codebook: Tensor) -> Tensor:
    """The minimum of every codeword's quadratic; a codeword that nobody uses stays."""
    dim = codebook.shape[1]
    systems = systems.reshape(-1, dim, dim)
    sizes = systems.diagonal(dim1=1, dim2=2).mean(1)
    used = sizes > 0
    ridge = torch.where(used, REGULARISATION * sizes, torch.ones_like(sizes))
    eye = torch.eye(dim, dtype=codebook.dtype, device=codebook.device)
    solved = torch.linalg.solve(
        systems + ridge[:, None, None] * eye, sides + ridge[:, None] * codebook
    )
    return torch.where(used[:, None], solved, codebook)
