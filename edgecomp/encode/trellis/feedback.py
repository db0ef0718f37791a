"""How an error in some columns moves the targets of those before them: block LDL feedback."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats.trellis import STRIP_COLUMNS

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Feedback:
    """What the Hessian H of a matrix's input says about errors E: the loss is tr(E H E^T).

    With H = Q Q^T, Q lower triangular, that is the sum over strips b of four columns of
    |E_b Q_bb + sum of E_a Q_ab|^2, a over the strips behind b: an error E_a adds E_a Q_ab Q_bb^-1
    to the target of strip b (GPTQ's step in blocks, BlockLDLQ of QuIP#). Let Z_a be by how much
    strip a misses its target, with all that came from behind; with D the diagonal blocks of Q that
    is E Q D^-1 = Z, and Z_a adds Z_a S_ab to the target of b, S = I - D Q^-1. A miss of b itself
    costs Z_b D_b D_b^T Z_b^T. `shares` is S, `costs` are the diagonals of all D_b D_b^T.
    """

    shares: NDArray[np.float32]  # (columns, columns), strictly below the diagonal of strips
    costs: NDArray[np.float32]  # (columns,)


def feedback_of(hessian: Matrix) -> Feedback:
    """The feedback of a positive definite float64 (columns, columns), columns a multiple of 4.

    numpy.linalg.LinAlgError when it is not positive definite.
    """
    lower = np.linalg.cholesky(hessian)
    columns = len(hessian)
    strips = columns // STRIP_COLUMNS
    index = np.arange(strips)
    tiled = lower.reshape(strips, STRIP_COLUMNS, strips, STRIP_COLUMNS)
    own = tiled[index, :, index, :]  # (strips, 4, 4), lower triangular
    inverse = np.linalg.inv(lower).reshape(strips, STRIP_COLUMNS, columns)
    shares = -np.matmul(own, inverse).reshape(tiled.shape)
    shares[index, :, index, :] = 0
    costs = np.einsum("bij,bij->bi", own, own)
    return Feedback(
        np.ascontiguousarray(shares.reshape(columns, columns), np.float32),
        costs.reshape(-1).astype(np.float32),
    )


def damped(hessian: NDArray[np.floating], damping: float) -> Matrix:
    """H + damping * mean(diag H) * I, float64; I for a zero matrix. ValueError unless finite."""
    full = hessian.astype(np.float64)
    if not np.isfinite(full).all():
        raise ValueError("a Hessian with values that are not finite")
    full = (full + full.T) / 2
    mean = float(np.mean(np.diagonal(full)))
    if not mean > 0:
        return np.eye(len(full))
    full[np.diag_indices_from(full)] += damping * mean
    return full
