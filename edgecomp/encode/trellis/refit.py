"""Tables fitted to the weights that they stand for (Lloyd's algorithm)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode.settings import TrellisSettings
from edgecomp.encode.source import WeightError, WeightSource
from edgecomp.encode.trellis.codes import TrellisCode
from edgecomp.encode.trellis.matrix import ScaledSpan, make_spans, rotation_of
from edgecomp.encode.trellis.viterbi import Encoding
from runtime_ops import reference
from runtime_ops.formats import matrix_sides
from runtime_ops.formats.trellis import BAND_ROWS

ROUNDS = 4
SAMPLE_BANDS = 4  # of a tensor, spread evenly


def fitted_code(
    code: TrellisCode, sources: Iterable[WeightSource], settings: TrellisSettings
) -> TrellisCode:
    """The trellis with its table fitted to some rows of these matrices, rotated if they will be.

    Each round encodes them without feedback, then moves every entry of the table to the mean of
    the weights that it stands for. Matrices too large to encode have no say.
    """
    spans = []
    for source in sources:
        with suppress(WeightError):
            spans.append(sampled(code, source, settings))
    table = np.array(code.table, np.float32)
    for _ in range(ROUNDS):
        counts, sums = np.zeros(len(table)), np.zeros(len(table))
        for span in spans:
            places, weights = encoded(span, table)
            counts += np.bincount(places, weights, minlength=len(table))
            sums += np.bincount(places, weights * span.targets.reshape(-1), minlength=len(table))
        table = np.where(counts > 0, sums / np.maximum(counts, 1e-30), table).astype(np.float32)
    return code.with_table(table.astype(np.float64) * code.unit)


def sampled(code: TrellisCode, source: WeightSource, settings: TrellisSettings) -> ScaledSpan:
    """Some bands of a matrix as they would be encoded."""
    rows, columns = matrix_sides(source.shape)
    bands = -(-rows // BAND_ROWS)
    chosen = sorted({bands * i // SAMPLE_BANDS for i in range(SAMPLE_BANDS)})
    read = [
        source.read(first * columns, min(BAND_ROWS, rows - first) * columns).reshape(-1, columns)
        for first in (band * BAND_ROWS for band in chosen)
    ]
    rotation = rotation_of(columns) if settings.rotate else 0
    span = make_spans([code], [columns], [rotation], settings.seed)[0]
    return ScaledSpan(span, np.concatenate(read), settings.row_power)


def encoded(
    span: ScaledSpan, table: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The place in the table of every target, int64, and what it counts, float64; both flat."""
    shape = span.targets.shape
    fmt = span.span.format
    costs = np.ones(shape[1], np.float32)
    costs[span.span.last :] = 0
    job = Encoding(fmt, span.targets, span.row_weights, costs, table)
    job.encode(0, shape[1])
    states = reference.trellis_states(fmt, {"codes": job.codes.reshape(-1)}, shape)
    places = reference.trellis_places(fmt, states, shape).reshape(-1).astype(np.int64)
    return places, np.outer(span.row_weights, costs).reshape(-1).astype(np.float64)
