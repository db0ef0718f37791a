"""One pass over the groups that hands every group's error on to those not encoded yet.

GPTQ's step in blocks (GPTVQ, BlockLDLQ). With H = P P^T, P upper triangular in the order of the
pass, the loss tr(E H E^T) is the sum of |E_b P_bb + sum_a E_a P_ab|^2 over the blocks b, a running
over those in front of b. Every block makes its own term as small as it can.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgecomp.encode.crvq.definite import tensor_named
from edgecomp.encode.crvq.matrix import Codebooks, CodedMatrix, best_codes

__all__ = ["encode_with_feedback", "upper_factor"]

WINDOW = 128  # columns that get what is in front of them in one product; a multiple of every dim
DESCENTS = 3  # rounds of coordinate descent over the codes of a block with several


def upper_factor(hessian: Tensor) -> Tensor:
    """The upper triangular P with H = P P^T, float (columns, columns), of a damped Hessian.

    That is the Cholesky factor of H with its rows and columns in reverse, reversed again; in
    float64, since the eigenvalues of a Hessian differ by many orders.
    """
    flipped: Tensor = torch.linalg.cholesky(hessian.double().flip(0, 1))
    return flipped.flip(0, 1).to(hessian.dtype)


def encode_with_feedback(matrix: CodedMatrix, codebooks: Codebooks, dim: int) -> float:
    """The loss (see weighted_loss) after all codes are set, in blocks of `dim` columns.

    Critical columns come last, so that they have the finest codes for what is left of all errors
    before them. The others go by falling importance, like GPTQ's activation order. IndefiniteError
    for a Hessian that is not positive definite.
    """
    columns, first_plain = matrix.columns, matrix.n_critical
    order = (torch.arange(columns, device=matrix.weight.device) + first_plain) % columns
    with tensor_named(matrix.name):
        factor = upper_factor(matrix.hessian[order][:, order])
    errors = torch.empty_like(matrix.weight)  # in the order of the pass
    loss = torch.zeros((), dtype=torch.float64, device=errors.device)
    for start in range(0, columns, WINDOW):
        end = min(start + WINDOW, columns)
        carried = errors[:, :start] @ factor[:start, start:end]
        for first in range(start, end, dim):
            last = first + dim
            column = (first + first_plain) % columns
            own, a, b = factor[first:last, first:last], first - start, last - start
            target = matrix.weight[:, column : column + dim]
            wanted = target @ own + carried[:, a:b]
            decoded = encode_block(matrix, codebooks, column, wanted, own)
            error = torch.sub(target, decoded, out=errors[:, first:last])
            carried[:, b:].addmm_(error, factor[first:last, last:end])
            loss += (wanted - decoded @ own).square().sum()
    return float(loss)


def encode_block(
    matrix: CodedMatrix, codebooks: Codebooks, column: int, wanted: Tensor, factor: Tensor
) -> Tensor:
    """The block V (rows, dim) from `column` on, after its codes are set to bring V P to `wanted`.

    `factor` P is (dim, dim). By coordinate descent from no code at all: exact where a single code
    covers the block.
    """
    metric = factor @ factor.T
    cells = [
        (stage, at, codebooks[stage.codebook])
        for stage in matrix.stages
        if stage.first <= column < stage.last
        for at in range(0, len(factor), codebooks[stage.codebook].shape[1])
    ]
    pulls = wanted @ factor.T
    decoded = torch.zeros_like(wanted)
    parts = [torch.zeros_like(wanted[:, : book.shape[1]]) for _, _, book in cells]
    for _ in range(DESCENTS if len(cells) > 1 else 1):
        for i, (stage, at, book) in enumerate(cells):
            end = at + book.shape[1]
            decoded[:, at:end] -= parts[i]
            pull = pulls[:, at:end] - decoded @ metric[:, at:end]
            codes = best_codes(pull, matrix.scales, book, metric[at:end, at:end])
            parts[i] = matrix.scales[:, None] * book.index_select(0, codes)
            decoded[:, at:end] += parts[i]
            stage.codes[:, (column - stage.first + at) // book.shape[1]] = codes
    return decoded
