"""Coordinate descent over all codes of a matrix, without touching all of it at every step.

For one code the loss is a quadratic in its codeword; the gradient G = (W - V) H is kept up to date
inside a window of columns only and flushed to the others in one product per window (crvq.md 5.4,
item 3). Every step is exact, so the loss never rises.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from edgecomp.encode.crvq.matrix import Codebooks, CodedMatrix, Stage, best_codes

__all__ = ["sweep"]

WINDOW_GROUPS = 16  # blocks per window


def sweep(matrix: CodedMatrix, codebooks: Codebooks, dim: int, gradient: Tensor) -> None:
    """One visit to every code of a matrix, in the order of columns.

    `gradient` is (W - V) H, float (rows, columns), and is kept so. Windows are a multiple of `dim`
    wide.
    """
    width = dim * WINDOW_GROUPS
    for start in range(0, matrix.columns, width):
        end = min(start + width, matrix.columns)
        local = gradient[:, start:end].clone()
        change = torch.zeros_like(local)
        metric = matrix.hessian[start:end, start:end]
        for stage, column in cells(matrix, codebooks, dim, start, end):
            visit(matrix, codebooks, (stage, column), (start, metric, local, change))
        gradient += change @ matrix.hessian[start:end]


def cells(
    matrix: CodedMatrix, codebooks: Codebooks, dim: int, start: int, end: int
) -> Iterator[tuple[Stage, int]]:
    """The codes of the columns start .. end - 1, as stage and first column, block by block."""
    for block in range(start, end, dim):
        for stage in matrix.stages:
            if stage.first <= block < stage.last:
                for column in range(block, block + dim, codebooks[stage.codebook].shape[1]):
                    yield stage, column


def visit(
    matrix: CodedMatrix,
    codebooks: Codebooks,
    cell: tuple[Stage, int],
    window: tuple[int, Tensor, Tensor, Tensor],
) -> None:
    """Sets the code of one cell in every row to the best one while all others stay."""
    stage, column = cell
    start, metric, gradient, change = window
    book = codebooks[stage.codebook]
    a, b = column - start, column - start + book.shape[1]
    index = (column - stage.first) // book.shape[1]
    scales = matrix.scales[:, None]
    own = metric[a:b, a:b]
    before = scales * book[stage.codes[:, index]]
    codes = best_codes(gradient[:, a:b] + before @ own, matrix.scales, book, own)
    moved = before - scales * book[codes]
    stage.codes[:, index] = codes
    change[:, a:b] += moved
    gradient += moved @ metric[a:b]
