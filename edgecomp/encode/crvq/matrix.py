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

__all__ = ["CodedMatrix", "Stage", "best_codes", "decode_unit", "reconstruct", "weighted_loss"]

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
        part = codebooks[stage.codebook][stage.codes]
        total[:, stage.first : stage.last] += part.reshape(matrix.rows, -1)
    return total


def reconstruct(matrix: CodedMatrix, codebooks: Codebooks) -> Tensor:
    """The decoded weights, float (rows, columns)."""
    return matrix.scales[:, None] * decode_unit(matrix, codebooks)


def weighted_loss(matrix: CodedMatrix, codebooks: Codebooks) -> float:
    """tr((W - V) H (W - V)^T) over all rows, V the decoded weights: the layer's squared error."""
    error = matrix.weight - reconstruct(matrix, codebooks)
    return float(((error @ matrix.hessian) * error).sum())


def best_codes(pull: Tensor, scales: Tensor, codebook: Tensor, metric: Tensor) -> Tensor:
    """The codes that minimise s^2 c A c - 2 s c p for every row, int64 (rows,).

    `pull` p (rows, dim) is what the row asks for, times the metric A (dim, dim); `scales` s (rows,)
    are not negative; crvq.md 1.4. One product does it: [p, s] [-2 C, c A c].
    """
    norms = ((codebook @ metric) * codebook).sum(1)
    table = torch.cat([-2 * codebook.T, norms[None]])
    return torch.argmin(torch.cat([pull, scales[:, None]], 1) @ table, 1)
