"""A matrix to trellis codes: rotated, scaled by rows, encoded strip by strip with feedback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode.source import WeightError
from edgecomp.encode.trellis.codes import TrellisCode
from edgecomp.encode.trellis.feedback import feedback_of
from edgecomp.encode.trellis.viterbi import Encoding
from runtime_ops import reference
from runtime_ops.formats import TrellisFormat
from runtime_ops.formats.part import MAX_SCALE
from runtime_ops.formats.trellis import BAND_ROWS, MAX_ROTATION, STRIP_COLUMNS

if TYPE_CHECKING:
    from edgecomp.encode.trellis.viterbi_torch import Encoding as TorchEncoding

WINDOW = 128  # columns that get what is behind them in one product


@dataclass(frozen=True)
class Coded:
    """Codes of a matrix, and what is needed to judge them; still rotated, rows not padded."""

    format: TrellisFormat
    codes: NDArray[np.uint8]  # whole bands, flat
    values: NDArray[np.float32]  # (rows, columns), in units of the table
    scales: NDArray[np.float64]  # (rows,), of a table's unit

    @property
    def weights(self) -> NDArray[np.float64]:
        """What the codes stand for, not rotated any more, float64 (rows, columns)."""
        stored = self.scales[:, None] * self.values
        if not self.format.rotation:
            return stored
        signs = reference.signs(self.format, stored.shape[1])
        return reference.hadamard(stored, self.format.rotation) * signs


@dataclass(frozen=True)
class Span:
    """Columns first .. last - 1 of a matrix, which one trellis encodes; `first` a multiple of 4."""

    code: TrellisCode
    format: TrellisFormat
    first: int
    last: int

    @property
    def padded(self) -> int:
        """Its columns, to the next multiple of 4."""
        return -(-(self.last - self.first) // STRIP_COLUMNS) * STRIP_COLUMNS


def rotation_of(columns: int) -> int:
    """Columns that can be rotated together: the largest power of two that divides them, or 0."""
    block = min(columns & -columns, MAX_ROTATION)
    return block if block >= 2 else 0


def make_spans(
    codes: Sequence[TrellisCode], widths: Sequence[int], rotations: Sequence[int], seed: int
) -> tuple[Span, ...]:
    """Spans that follow one another, of these widths; all but the last are multiples of 4."""
    spans, first = [], 0
    for code, width, rotation in zip(codes, widths, rotations, strict=True):
        spans.append(Span(code, code.format(rotation, seed), first, first + width))
        first += width
    return tuple(spans)


class MatrixEncoder:
    """Encodes rows of matrices that share their trellises and their input.

    `hessian` float64 (columns, columns), positive definite, turns on feedback, in the order of the
    stored columns. numpy.linalg.LinAlgError when it has no Cholesky factor. The search is that in C
    on `device` "cpu", that in torch on others; the codes are the same. For `row_power` see
    TrellisSettings.
    """

    def __init__(
        self,
        spans: Sequence[Span],
        hessian: NDArray[np.float64] | None = None,
        device: str = "cpu",
        row_power: float = 1.0,
    ) -> None:
        self.spans = tuple(spans)
        self.row_power = row_power
        self.device = device
        self.columns = self.spans[-1].last
        self.padded = self.spans[-1].first + self.spans[-1].padded
        self.metric = None if hessian is None else rotated_hessian(self.spans, hessian)
        self.costs = np.ones(self.padded, np.float32)
        self.costs[self.columns :] = 0
        if self.metric is not None:
            full = np.eye(self.padded)
            full[: self.columns, : self.columns] = self.metric
            feedback = feedback_of(full)
            self.shares = feedback.shares
            costs = feedback.costs[: self.columns]
            self.costs[: self.columns] = costs / costs.mean()

    def encode(self, weight: NDArray[np.float32]) -> tuple[Coded, ...]:
        """Codes of a float32 (rows, columns), a Coded for each span; errors: see ScaledSpan."""
        found: list[Coded] = []
        misses: list[NDArray[np.float64]] = []  # of each span, in the weights' unit, last one first
        for span in reversed(self.spans):
            scaled = ScaledSpan(span, weight[:, span.first : span.last], self.row_power)
            for behind, missed in zip(reversed(self.spans), misses, strict=False):
                low, high = behind.first, behind.first + behind.padded
                shares = self.shares[low:high, span.first : span.first + span.padded]
                scaled.targets += missed @ shares * scaled.inverse[:, None]
            job = self.encode_span(scaled)
            if self.metric is not None and len(self.spans) > 1:
                misses.append((job.targets - job.values) * scaled.scales[:, None])
            found.append(self.coded(scaled, job, len(weight)))
        return tuple(reversed(found))

    def encode_span(self, scaled: ScaledSpan) -> Encoding | TorchEncoding:
        """The path of a span's targets, from the last window of columns to the first."""
        span = scaled.span
        costs = self.costs[span.first : span.first + span.padded]
        job = encoding_on(self.device, span.format, scaled, costs)
        if self.metric is None:
            job.encode(0, span.padded)
            return job
        own = slice(span.first, span.first + span.padded)
        shares = self.shares[own, own]
        for end in range(span.padded, 0, -WINDOW):
            first = max(0, end - WINDOW)
            job.encode(first, end, shares[first:end, first:end])
            errors = job.targets[:, first:end] - job.values[:, first:end]
            job.targets[:, :first] += errors @ shares[first:end, :first]
        return job

    def coded(self, scaled: ScaledSpan, job: Encoding | TorchEncoding, rows: int) -> Coded:
        """The span's codes, with the row scales that fit them best."""
        span = scaled.span
        width = span.last - span.first
        values = job.values[:rows, :width]
        metric = None
        if self.metric is not None:
            metric = self.metric[span.first : span.last, span.first : span.last]
        factors = best_factors(scaled.wanted, values, metric)
        scales = scaled.scales[:rows] * factors
        return Coded(span.format, job.codes.reshape(-1), values, scales)


class ScaledSpan:
    """The rotated weights of a span in units of its table, padded to whole tiles.

    An error of a row counts its mean square to the `row_power`. `scales` and `inverse` are float64,
    whose range holds those of every float32 row. WeightError for rows whose scale no file holds;
    that includes those whose rotation overflows.
    """

    def __init__(self, span: Span, weight: NDArray[np.float32], row_power: float = 1.0) -> None:
        self.span = span
        with np.errstate(over="ignore", invalid="ignore"):  # caught below
            stored = rotated_weight(span.format, weight)
        rows, columns = stored.shape
        rms = np.zeros(-(-rows // BAND_ROWS) * BAND_ROWS)
        rms[:rows] = np.sqrt(np.mean(stored.astype(np.float64) ** 2, axis=1))
        largest = float(rms.max(initial=0.0))
        if not largest * span.code.unit <= MAX_SCALE:
            raise WeightError(f"rows of {largest:.3g} in the root mean square, too large to encode")
        self.scales = rms * span.code.unit
        self.inverse = np.zeros_like(self.scales)
        np.divide(1, self.scales, out=self.inverse, where=self.scales > 0)
        self.targets = np.zeros((len(rms), span.padded), np.float32)
        self.targets[:rows, :columns] = stored * self.inverse[:rows, None]
        self.wanted = self.targets[:rows, :columns].copy()
        self.row_weights = np.zeros(len(rms), np.float32)
        if largest > 0:
            self.row_weights[rms > 0] = (rms[rms > 0] / largest) ** (2 * row_power)


def encoding_on(
    device: str, fmt: TrellisFormat, scaled: ScaledSpan, costs: NDArray[np.float32]
) -> Encoding | TorchEncoding:
    """The search for a span's codes on a device; `costs` are its columns' weights."""
    if device == "cpu":
        return Encoding(fmt, scaled.targets, scaled.row_weights, costs)
    from edgecomp.encode.trellis import viterbi_torch

    return viterbi_torch.Encoding(fmt, scaled.targets, scaled.row_weights, costs, device=device)


def rotated_weight(fmt: TrellisFormat, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """V with W = V R, float32 (rows, columns): R R^T is `rotation` times the identity."""
    if not fmt.rotation:
        return weight
    return reference.rotate(fmt, weight) / np.float32(fmt.rotation)


def rotated_hessian(spans: Sequence[Span], hessian: NDArray[np.float64]) -> NDArray[np.float64]:
    """R H R^T, float64 (columns, columns): the mean of the square of rotated inputs."""
    rotated = hessian.copy()
    for _ in range(2):  # columns, then, the other way round, rows
        for span in spans:
            if span.format.rotation:
                own = slice(span.first, span.last)
                signs = reference.signs(span.format, span.last - span.first).astype(np.float64)
                part = np.ascontiguousarray(rotated[:, own] * signs)
                rotated[:, own] = reference.hadamard(part, span.format.rotation)
        rotated = np.ascontiguousarray(rotated.T)
    return rotated


def encode_matrix(
    weight: NDArray[np.float32],
    code: TrellisCode,
    hessian: NDArray[np.float64] | None = None,
    rotation: int = 0,
    seed: int = 0,
    device: str = "cpu",
) -> Coded:
    """Codes of a float32 (rows, columns) matrix by one trellis; see MatrixEncoder.

    `rotation` is a power of two that divides the columns, or 0.
    """
    spans = make_spans([code], [weight.shape[1]], [rotation], seed)
    return MatrixEncoder(spans, hessian, device).encode(weight)[0]


def best_factors(
    wanted: NDArray[np.float32],
    values: NDArray[np.float32],
    hessian: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """What each row's scale is multiplied with for the least loss, float64 (rows,); 1 for zeros.

    The least squares solution a >= 0 of wanted = a values in the metric of the Hessian. (It is 0
    for a row whose values point away from the weights, as those of a row may that counts next to
    nothing in its band.)
    """
    v = values.astype(np.float64)
    pulled = v if hessian is None else v @ hessian
    own, shared = np.sum(pulled * v, axis=1), np.sum(pulled * wanted, axis=1)
    factors: NDArray[np.float64] = np.ones_like(own)
    np.divide(np.maximum(shared, 0), own, out=factors, where=own > 0)
    return factors
