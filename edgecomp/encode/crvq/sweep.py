"""Coordinate descent over all codes of a matrix, without touching all of it at every step.

For one code the loss is a quadratic in its codeword; the gradient G = (W - V) H is kept up to date
inside a window of columns only and flushed to the others in one product per window (crvq.md 5.4,
item 3). Every step is exact, so the loss never rises.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from edgecomp.encode.crvq.matrix import Codebooks, CodedMatrix, Stage, best_codes

__all__ = ["Cell", "Window", "cells", "sweep", "visit"]

WINDOW = 128  # columns; a multiple of every dim


@dataclass(frozen=True)
class Cell:
    """A group of a stage, and the first column of the block that it is in."""

    stage: Stage
    group: int
    first: int  # column
    block: int


@dataclass(frozen=True)
class Window:
    """Columns whose gradient is kept up to date, and how their weights changed so far."""

    start: int
    metric: Tensor  # (width, width): the Hessian's block
    gradient: Tensor  # (rows, width): of columns from the current block on
    change: Tensor  # (rows, width)


def sweep(matrix: CodedMatrix, codebooks: Codebooks, dim: int, gradient: Tensor) -> None:
    """One visit to every code of a matrix, in the order of columns.

    `gradient` is (W - V) H, float (rows, columns), and is kept so.
    """
    for start in range(0, matrix.columns, WINDOW):
        end = min(start + WINDOW, matrix.columns)
        local = gradient[:, start:end].clone()
        metric = matrix.hessian[start:end, start:end]
        window = Window(start, metric, local, torch.zeros_like(local))
        for cell in cells(matrix, codebooks, dim, start, end):
            visit(matrix, codebooks, cell, window)
        gradient.addmm_(window.change, matrix.hessian[start:end])


def cells(
    matrix: CodedMatrix, codebooks: Codebooks, dim: int, start: int, end: int
) -> Iterator[Cell]:
    """The codes of the columns start .. end - 1, block by block of `dim` columns."""
    for block in range(start, end, dim):
        for stage in matrix.stages:
            if stage.first <= block < stage.last:
                width = codebooks[stage.codebook].shape[1]
                for first in range(block, block + dim, width):
                    yield Cell(stage, (first - stage.first) // width, first, block)


def visit(matrix: CodedMatrix, codebooks: Codebooks, cell: Cell, window: Window) -> None:
    """Sets the code of one cell in every row to the best one while all others stay."""
    book, scales = codebooks[cell.stage.codebook], matrix.scales[:, None]
    a, block = cell.first - window.start, cell.block - window.start
    b = a + book.shape[1]
    own = window.metric[a:b, a:b]
    change = scales * book.index_select(0, cell.stage.codes[:, cell.group])
    codes = best_codes(torch.addmm(window.gradient[:, a:b], change, own), matrix.scales, book, own)
    change -= scales * book.index_select(0, codes)
    cell.stage.codes[:, cell.group] = codes
    window.change[:, a:b] += change
    window.gradient[:, block:].addmm_(change, window.metric[a:b, block:])
