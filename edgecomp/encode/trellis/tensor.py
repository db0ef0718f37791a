"""A tensor to trellis codes, some rows at a time, with critical columns if it has any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode.blocks import check_finite
from edgecomp.encode.critical import check_permuted, column_order, column_scores, count_critical
from edgecomp.encode.indefinite import IndefiniteError
from edgecomp.encode.raw import encode_raw
from edgecomp.encode.row_scales import stored_row_scales
from edgecomp.encode.settings import TrellisSettings
from edgecomp.encode.source import WeightError, WeightSource
from edgecomp.encode.trellis.codes import TrellisCode, chosen_code
from edgecomp.encode.trellis.feedback import damped
from edgecomp.encode.trellis.matrix import Coded, MatrixEncoder, Span, make_spans, rotation_of
from runtime_ops.formats import (
    ColumnsFormat,
    EncodedTensor,
    Table,
    TrellisFormat,
    matrices,
    matrix_sides,
)
from runtime_ops.formats.columns import CRITICAL_PREFIX
from runtime_ops.formats.trellis import BAND_ROWS
from runtime_ops.native import decode_range

CHUNK_WEIGHTS = 1 << 23  # that are encoded at a time, in whole bands


@dataclass(frozen=True)
class InputStatistics:
    """What a calibration says about a tensor's input x: means over tokens.

    `diagonal` float32 (columns,) of x^2; `hessian` float32 (columns, columns) of x x^T, or None
    where only the diagonal is known.
    """

    diagonal: NDArray[np.float32]
    hessian: NDArray[np.float32] | None = None


def encode_trellis(
    source: WeightSource,
    settings: TrellisSettings,
    name: str = "",
    statistics: InputStatistics | None = None,
    code: TrellisCode | None = None,
    device: str = "cpu",
) -> EncodedTensor:
    """The tensor as a matrix of shape[0] rows; vectors, scalars and tiny ones stay raw.

    `code` stands in for the best known trellis of the settings; codes are looked for on `device`.
    Feedback needs the Hessian, critical columns of importance "activation" the diagonal in
    `statistics`. Raises WeightError for weights that are not finite, IndefiniteError where the
    damped Hessian has no Cholesky factor.
    """
    rows, columns = matrix_sides(source.shape)
    if len(source.shape) < 2:
        return encode_raw(source)
    scores = scores_of(source, settings, name, statistics)
    spans, order = spans_of(columns, settings, code or chosen_code(settings), scores)
    if sum(coded_bytes(span, rows) for span in spans) >= 2 * rows * columns:
        return encode_raw(source)
    try:
        hessian = ordered_hessian(settings, statistics, order)
        encoder = MatrixEncoder(spans, hessian, device, settings.row_power)
    except np.linalg.LinAlgError as error:
        raise IndefiniteError(name) from error
    chunks = []
    for first, n in chunks_of(rows, columns):
        weight = read_rows(source, first, n)
        try:
            chunks.append(encoder.encode(weight if order is None else weight[:, order]))
        except WeightError:  # so large that a scale of theirs does not exist
            return encode_raw(source)
    try:
        tensor = joined(source.shape, spans, chunks, order)
    except WeightError:  # or so small
        return encode_raw(source)
    return replace(tensor, error_bound=largest_distance(tensor, source))


def scores_of(
    source: WeightSource,
    settings: TrellisSettings,
    name: str,
    statistics: InputStatistics | None,
) -> NDArray[np.float64] | None:
    """How much every column matters, float64 (columns,); None without critical columns."""
    columns = matrix_sides(source.shape)[1]
    if count_critical(source.shape, settings.critical) == 0:
        return None
    check_permuted(columns)
    diagonal = None if statistics is None else statistics.diagonal
    return column_scores(source, settings, name, diagonal)


def spans_of(
    columns: int,
    settings: TrellisSettings,
    code: TrellisCode,
    scores: NDArray[np.float64] | None,
) -> tuple[tuple[Span, ...], NDArray[np.int64] | None]:
    """The trellises of a matrix, critical columns first, and the column at each position.

    No order without critical columns. These are not rotated: that would spread them.
    """
    if scores is None:
        rotation = rotation_of(columns) if settings.rotate else 0
        return make_spans([code], [columns], [rotation], settings.seed), None
    n_critical = count_critical((1, columns), settings.critical)
    fine = chosen_code(replace(settings, bits=settings.critical_bits))
    rest = columns - n_critical
    rotation = rotation_of(rest) if settings.rotate else 0
    spans = make_spans([fine, code], [n_critical, rest], [0, rotation], settings.seed)
    return spans, column_order(scores, n_critical)


def coded_bytes(span: Span, rows: int) -> int:
    """Bytes of a span's parts."""
    specs = span.format.part_specs((rows, span.last - span.first))
    return sum(spec.size * spec.dtype.itemsize for spec in specs)


def ordered_hessian(
    settings: TrellisSettings,
    statistics: InputStatistics | None,
    order: NDArray[np.int64] | None,
) -> NDArray[np.float64] | None:
    """The damped Hessian in the order of the stored columns, float64; None without feedback."""
    if not settings.feedback or statistics is None or statistics.hessian is None:
        return None
    full = damped(statistics.hessian, settings.damping)
    return full if order is None else np.ascontiguousarray(full[order][:, order])


def chunks_of(rows: int, columns: int) -> list[tuple[int, int]]:
    """First row and number of rows of the chunks of a matrix."""
    step = max(1, CHUNK_WEIGHTS // (columns * BAND_ROWS)) * BAND_ROWS
    return [(first, min(step, rows - first)) for first in range(0, rows, step)]


def read_rows(source: WeightSource, first: int, n: int) -> NDArray[np.float32]:
    """Some rows, float32 (n, columns); WeightError for NaN and infinite weights."""
    columns = matrix_sides(source.shape)[1]
    weight = source.read(first * columns, n * columns)
    check_finite(weight, first * columns)
    return weight.reshape(n, columns)


def joined(
    shape: tuple[int, ...],
    spans: Sequence[Span],
    chunks: Sequence[tuple[Coded, ...]],
    order: NDArray[np.int64] | None,
) -> EncodedTensor:
    """The tensor of coded chunks of rows, without its error bound; WeightError for its scales."""
    matrices: list[dict[str, NDArray[np.generic]]] = []
    for i in range(len(spans)):
        half, factor = stored_row_scales(np.concatenate([chunk[i].scales for chunk in chunks]), 1.0)
        codes = np.concatenate([chunk[i].codes for chunk in chunks])
        matrices.append({"codes": codes, "scales": half, "params": np.array([factor], np.float32)})
    if order is None:
        return EncodedTensor(spans[0].format, shape, matrices[0])
    table = Table.of(order.astype(np.uint16))
    fmt = ColumnsFormat(spans[1].format, spans[0].format, spans[0].last, table)
    critical = {CRITICAL_PREFIX + name: part for name, part in matrices[0].items()}
    return EncodedTensor(fmt, shape, critical | matrices[1])


def largest_distance(tensor: EncodedTensor, source: WeightSource) -> float:
    """The largest Euclidean distance of the weights of a step; the source is read (again)."""
    rows, columns = matrix_sides(source.shape)
    fmt, order, widths = tensor.format, None, [columns]
    if isinstance(fmt, ColumnsFormat):
        order = fmt.order
        widths = [n for n in (fmt.n_critical, columns - fmt.n_critical) if n]
    dims = [each.dim for each, _ in matrices(tensor) if isinstance(each, TrellisFormat)]
    largest = 0.0
    for first, n in chunks_of(rows, columns):
        decoded = decode_range(tensor, first * columns, n * columns).reshape(n, columns)
        squares = (decoded.astype(np.float64) - read_rows(source, first, n)) ** 2
        if order is not None:
            squares = squares[:, order]
        parts = np.split(squares, np.cumsum(widths)[:-1], axis=1)
        for part, dim in zip(parts, dims, strict=True):
            steps = np.add.reduceat(part, np.arange(0, part.shape[1], dim), axis=1)
            largest = max(largest, float(steps.max()))
    return float(np.nextafter(np.float32(math.sqrt(largest)), np.float32(np.inf)))
