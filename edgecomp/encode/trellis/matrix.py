"""A matrix to trellis codes: rotated, scaled by rows, encoded strip by strip with feedback."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode.row_scales import stored_row_scales
from edgecomp.encode.trellis.codes import TrellisCode
from edgecomp.encode.trellis.feedback import feedback_of
from edgecomp.encode.trellis.viterbi import Encoding
from runtime_ops import reference
from runtime_ops.formats import EncodedTensor, TrellisFormat
from runtime_ops.formats.trellis import BAND_ROWS, MAX_ROTATION, STRIP_COLUMNS

WINDOW = 128  # columns that get what is behind them in one product


@dataclass(frozen=True)
class Coded:
    """Codes of a matrix, and what is needed to judge them; still rotated, rows not padded."""

    format: TrellisFormat
    codes: NDArray[np.uint8]
    values: NDArray[np.float32]  # (rows, columns), in units of the table
    scales: NDArray[np.float64]  # (rows,), of a table's unit


def rotation_of(columns: int) -> int:
    """Columns that can be rotated together: the largest power of two that divides them, or 0."""
    block = min(columns & -columns, MAX_ROTATION)
    return block if block >= 2 else 0


def rotated_weight(fmt: TrellisFormat, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """V with W = V R, float32 (rows, columns): R R^T is `rotation` times the identity."""
    if not fmt.rotation:
        return weight
    return reference.rotate(fmt, weight) / np.float32(fmt.rotation)


def rotated_hessian(fmt: TrellisFormat, hessian: NDArray[np.float64]) -> NDArray[np.float64]:
    """R H R^T, float64 (columns, columns): the mean of the square of rotated inputs."""
    if not fmt.rotation:
        return hessian
    signs = reference.signs(fmt, len(hessian)).astype(np.float64)
    once = reference.hadamard(hessian * signs, fmt.rotation)
    return reference.hadamard(once.T * signs, fmt.rotation)


def encode_matrix(
    weight: NDArray[np.float32],
    code: TrellisCode,
    hessian: NDArray[np.float64] | None = None,
    rotation: int = 0,
    seed: int = 0,
) -> Coded:
    """Codes of a float32 (rows, columns) matrix.

    `hessian` float64 (columns, columns), damped, turns on feedback. `rotation` is a power of two
    that divides the columns, or 0.
    """
    fmt = code.format(rotation, seed)
    stored = rotated_weight(fmt, weight)
    metric = None if hessian is None else rotated_hessian(fmt, hessian)
    rms = np.sqrt(np.mean(stored.astype(np.float64) ** 2, axis=1))
    scales = rms * code.unit
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0)
    rows, columns = stored.shape
    targets = np.zeros((-(-rows // BAND_ROWS) * BAND_ROWS, -(-columns // STRIP_COLUMNS) * 4), "f4")
    targets[:rows, :columns] = stored * inverse[:, None].astype(np.float32)
    wanted = targets[:rows, :columns].copy()
    row_weights = np.zeros(len(targets), np.float32)
    largest = rms.max(initial=0.0)
    row_weights[:rows] = (rms / largest) ** 2 if largest > 0 else 1.0
    values, codes = path(fmt, targets, row_weights, metric, columns)
    scales *= best_factors(wanted, values[:rows, :columns], metric)
    return Coded(fmt, codes.reshape(-1), values[:rows, :columns], scales)


def path(
    fmt: TrellisFormat,
    targets: NDArray[np.float32],
    row_weights: NDArray[np.float32],
    hessian: NDArray[np.float64] | None,
    columns: int,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Values and codes of padded targets, from the last window of columns to the first."""
    padded = targets.shape[1]
    weights = np.zeros(padded, np.float32)
    if hessian is None:
        weights[:columns] = 1
        job = Encoding(fmt, targets, row_weights, weights)
        job.encode(0, padded)
        return job.values, job.codes
    full = np.eye(padded)
    full[:columns, :columns] = hessian
    feedback = feedback_of(full)
    weights[:columns] = feedback.costs[:columns] / feedback.costs[:columns].mean()
    job = Encoding(fmt, targets, row_weights, weights)
    for end in range(padded, 0, -WINDOW):
        first = max(0, end - WINDOW)
        job.encode(first, end, feedback.shares[first:end, first:end])
        errors = job.targets[:, first:end] - job.values[:, first:end]
        job.targets[:, :first] += errors @ feedback.shares[first:end, :first]
    return job.values, job.codes


def best_factors(
    wanted: NDArray[np.float32],
    values: NDArray[np.float32],
    hessian: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """What each row's scale is multiplied with for the least loss, float64 (rows,); 1 for zeros.

    The least squares solution a of |(wanted - a values)|^2 in the metric of the Hessian.
    """
    v = values.astype(np.float64)
    pulled = v if hessian is None else v @ hessian
    own, shared = np.sum(pulled * v, axis=1), np.sum(pulled * wanted, axis=1)
    factors: NDArray[np.float64] = np.ones_like(own)
    np.divide(shared, own, out=factors, where=(own > 0) & (shared > 0))
    return factors


def stored(coded: Coded, weight: NDArray[np.float32], shape: tuple[int, ...]) -> EncodedTensor:
    """The codes as a tensor of a container; its error bound is measured against `weight`."""
    half, factor = stored_row_scales(coded.scales, 1.0)
    parts: dict[str, NDArray[np.generic]] = {
        "codes": coded.codes,
        "scales": half,
        "params": np.array([factor], np.float32),
    }
    matrix = EncodedTensor(coded.format, weight.shape, parts)
    error = np.abs(reference.decode(matrix).astype(np.float64) - weight)
    dim = coded.format.dim
    bound = float(error.max(initial=0.0)) * dim**0.5
    return EncodedTensor(coded.format, shape, parts, bound)
