"""A weight matrix that is being encoded: its weights, its Hessian, its codes so far.

Columns are in stored order: the critical ones first. A *stage* is one codebook's codes for a range
of columns; the decoded matrix is a row's scale times the sum of all stages. So CRVQ is a basic
stage over all columns with extended ones over the critical columns, and critical columns of their
own are a stage of another dimension in front of the basic one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "Codebooks",
    "CodedMatrix",
    "Stage",
    "best_codes",
    "decode_unit",
    "first_least",
    "reconstruct",
    "weighted_loss",
]

Codebooks = Sequence[Tensor]  # float (codewords, dim) each; indexed by Stage.codebook


@dataclass
class Stage:
    """Codes of one codebook for the columns first .. last - 1, int64 (rows, groups)."""

    codebook: int
    first: int
    last: int
    codes: Tensor


@dataclass
class CodedMatrix:
    """A matrix of `weight` (rows, columns), float; `hessian` (columns, columns), damped.

    `columns` is a multiple of the basic dimension: a narrower tensor is padded with zeros. `scales`
    (rows,) and the stages' codes change while it is encoded.
    """

    name: str
    weight: Tensor
    hessian: Tensor
    scales: Tensor
    stages: list[Stage]
    n_critical: int  # columns

    @property
    def rows(self) -> int:
        """Output channels."""
        return int(self.weight.shape[0])

    @property
    def columns(self) -> int:
        """Input channels, padding included."""
        return int(self.weight.shape[1])

    def metric(self, first: int, dim: int, groups: int) -> Tensor:
        """The Hessian's blocks on its diagonal, (groups, dim, dim), from column `first` on."""
        last = first + dim * groups
        block = self.hessian[first:last, first:last].reshape(groups, dim, groups, dim)
        return block.diagonal(dim1=0, dim2=2).permute(2, 0, 1)

    def of_rows(self, rows: Tensor) -> CodedMatrix:
        """The same matrix with only some rows, which are copied."""
        stages = [Stage(s.codebook, s.first, s.last, s.codes[rows]) for s in self.stages]
        return CodedMatrix(
            self.name, self.weight[rows], self.hessian, self.scales[rows], stages, self.n_critical
        )


def decode_unit(matrix: CodedMatrix, codebooks: Codebooks) -> Tensor:
    """The sum of all stages without the row scales, float (rows, columns)."""
    total = torch.zeros_like(matrix.weight)
    for stage in matrix.stages:
        part = codebooks[stage.codebook].index_select(0, stage.codes.reshape(-1))
        total[:, stage.first : stage.last] += part.reshape(matrix.rows, -1)
    return total


def reconstruct(matrix: CodedMatrix, codebooks: Codebooks) -> Tensor:
    """The decoded weights, float (rows, columns)."""
    return decode_unit(matrix, codebooks).mul_(matrix.scales[:, None])


def weighted_loss(matrix: CodedMatrix, codebooks: Codebooks) -> float:
    """tr((W - V) H (W - V)^T) over all rows, V the decoded weights: the layer's squared error."""
    error = matrix.weight - reconstruct(matrix, codebooks)
    return float(((error @ matrix.hessian) * error).sum())


def best_codes(pull: Tensor, scales: Tensor, codebook: Tensor, metric: Tensor) -> Tensor:
    """The codes that minimise s^2 c A c - 2 s c p for every row, int64 (rows,); crvq.md 1.4.

    `pull` p (rows, dim) is what the row asks for, times the metric A (dim, dim); `scales` s (rows,)
    are not negative. Divided by s^2 the tables are the same for all rows. Any code is best for a
    row of scale 0: it gets the one with the least c A c.
    """
    norms = ((codebook @ metric) * codebook).sum(1)
    inverse = torch.where(scales > 0, 1 / scales, torch.zeros_like(scales))
    return first_least(torch.addmm(norms, pull * inverse[:, None], codebook.T, alpha=-2))


def first_least(scores: Tensor) -> Tensor:
    """argmin over the second dimension of (rows, n), the first where several are least; int64.

    `scores` are overwritten. Three passes that processors do many numbers at a time, unlike argmin:
    what is above the least one becomes far more than an index, the least one its own index.
    """
    scores -= scores.amin(1, keepdim=True)
    indices = torch.arange(scores.shape[1], dtype=scores.dtype, device=scores.device)
    return scores.mul_(torch.finfo(scores.dtype).max).add_(indices).amin(1).long()
