"""One pass over the groups that hands every group's error on to those not encoded yet.

GPTQ's step in blocks (GPTVQ, BlockLDLQ): with H^-1 = U^T U, U upper triangular in the order of the
pass, the error e of a block changes the columns behind it by -e U_bb^-1 U_b,behind, and the block
is encoded under the metric (U_bb^T U_bb)^-1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgecomp.encode.crvq.matrix import Codebooks, CodedMatrix, best_codes

__all__ = ["encode_with_feedback", "inverse_factor"]

WINDOW_GROUPS = 16  # blocks whose errors reach the columns beyond them in one product
DESCENTS = 3  # rounds of coordinate descent over the codes of a block with several


def inverse_factor(hessian: Tensor) -> Tensor:
    """The upper triangular U with H^-1 = U^T U, float (columns, columns), of a damped Hessian.

    By a Cholesky decomposition of the flipped matrix: H = P P^T, P upper triangular, U = P^-1.
    """
    flipped = torch.linalg.cholesky(hessian.double().flip(0, 1))
    upper = flipped.flip(0, 1)
    eye = torch.eye(len(hessian), dtype=upper.dtype, device=upper.device)
    factor: Tensor = torch.linalg.solve_triangular(upper, eye, upper=True)
    return factor.to(hessian.dtype)


def encode_with_feedback(matrix: CodedMatrix, codebooks: Codebooks, dim: int) -> None:
    """Sets all codes of a matrix, in blocks of `dim` columns, critical ones last.

    So they have the finest codes for what is left of all errors before them. The others go by
    falling importance, like GPTQ's activation order.
    """
    columns, first_plain = matrix.columns, matrix.n_critical
    order = (torch.arange(columns, device=matrix.weight.device) + first_plain) % columns
    factor = inverse_factor(matrix.hessian[order][:, order])
    target = matrix.weight[:, order]
    width = dim * WINDOW_GROUPS
    for start in range(0, columns, width):
        end = min(start + width, columns)
        errors = torch.zeros(matrix.rows, end - start).to(target)
        for first in range(start, end, dim):
            last = first + dim
            inverse = torch.linalg.inv(factor[first:last, first:last])
            column = (first + first_plain) % columns
            block = target[:, first:last]
            decoded = encode_block(matrix, codebooks, column, block, inverse @ inverse.T)
            error = (block - decoded) @ inverse
            errors[:, first - start : last - start] = error
            target[:, last:end] -= error @ factor[first:last, last:end]
        target[:, end:] -= errors @ factor[start:end, end:]


def encode_block(
    matrix: CodedMatrix, codebooks: Codebooks, column: int, target: Tensor, metric: Tensor
) -> Tensor:
    """The decoded block (rows, width) from `column` on, after its codes are set for `target`.

    By coordinate descent from no code at all: exact where a single code covers the block.
    """
    scales = matrix.scales
    cells = [
        (stage, at, codebooks[stage.codebook])
        for stage in matrix.stages
        if stage.first <= column < stage.last
        for at in range(0, target.shape[1], codebooks[stage.codebook].shape[1])
    ]
    decoded = torch.zeros_like(target)
    parts = [torch.zeros(len(target), book.shape[1]).to(target) for _, _, book in cells]
    for _ in range(DESCENTS if len(cells) > 1 else 1):
        for i, (stage, at, book) in enumerate(cells):
            end = at + book.shape[1]
            decoded[:, at:end] -= parts[i]
            pull = (target - decoded) @ metric[:, at:end]
            codes = best_codes(pull, scales, book, metric[at:end, at:end])
            parts[i] = scales[:, None] * book[codes]
            decoded[:, at:end] += parts[i]
            stage.codes[:, (column - stage.first + at) // book.shape[1]] = codes
    return decoded
