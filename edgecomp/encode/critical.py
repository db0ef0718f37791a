"""Critical columns: a few input columns of a matrix at a higher rate than the rest.

The idea of CRVQ's critical channels (arXiv 2412.09282, 3.2) for a codec of one rate: the columns
are ranked, the first ones and the others are a matrix each, and each matrix is encoded alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode.blocks import check_finite, map_blocks
from edgecomp.encode.lattice_preset import encode_lattice
from edgecomp.encode.settings import LatticeSettings, TrellisSettings
from edgecomp.encode.source import WeightError, WeightSource
from runtime_ops.formats import ColumnsFormat, EncodedTensor, Table
from runtime_ops.formats.columns import CRITICAL_PREFIX, MAX_PERMUTED

COLUMN_STEP = 8  # critical columns are a multiple of it: lanes of a product, bytes of a load
FEWEST_COLUMNS = 32  # of a matrix with critical ones: below, 8 of them are more than a few
READ_WEIGHTS = 1 << 16  # that are read at once, in whole rows: at least one


@dataclass(frozen=True)
class ColumnSource:
    """Some columns of a matrix, in a given order, as a source; reads a few rows at a time."""

    source: WeightSource
    columns: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """The matrix's rows, and the number of columns chosen."""
        return self.source.shape[0], len(self.columns)

    def read(self, first: int, count: int) -> NDArray[np.float32]:
        """See WeightSource; WeightError for NaN and infinite weights."""
        of_source, width = self.source.shape[1], len(self.columns)
        row, end_row = first // width, -(-(first + count) // width)
        found = np.empty((end_row - row, width), np.float32)
        step = rows_at_once(of_source)
        for start in range(row, end_row, step):
            n = min(step, end_row - start)
            rows = self.source.read(start * of_source, n * of_source)
            check_finite(rows, start * of_source)  # here, where places are the tensor's own
            found[start - row : start - row + n] = rows.reshape(n, of_source)[:, self.columns]
        skipped = first - row * width
        return found.reshape(-1)[skipped : skipped + count]


def check_permuted(columns: int) -> None:
    """WeightError for a matrix with more columns than a permutation names."""
    if columns > MAX_PERMUTED:
        raise WeightError(
            f"{columns} columns, expected at most {MAX_PERMUTED} with critical columns",
            "leave --critical out",
        )


def encode_critical(
    source: WeightSource, settings: LatticeSettings, name: str, diagonal: NDArray[np.float32] | None
) -> EncodedTensor:
    """The tensor with its critical columns at `settings.critical_bits`, if it has any.

    `name` is what a random choice is drawn by; `diagonal` float32 (columns,) the mean square of
    the tensor's input, which importance "activation" needs. Only matrices of 32 columns and more
    have critical ones. Raises WeightError when the matrix has more columns than a permutation
    names, or when `diagonal` is missing or does not fit.
    """
    n_critical = count_critical(source.shape, settings.critical)
    if n_critical == 0:
        return encode_lattice(source, settings)
    check_permuted(source.shape[1])
    order = column_order(column_scores(source, settings, name, diagonal), n_critical)
    critical = encode_lattice(ColumnSource(source, order[:n_critical]), settings.critical_part)
    rest = encode_lattice(ColumnSource(source, order[n_critical:]), settings)
    assert not isinstance(critical.format, ColumnsFormat), "the lattice preset has none"
    assert not isinstance(rest.format, ColumnsFormat), "the lattice preset has none"
    return EncodedTensor(
        ColumnsFormat(rest.format, critical.format, n_critical, Table.of(order.astype(np.uint16))),
        source.shape,
        {CRITICAL_PREFIX + part: array for part, array in critical.parts.items()}
        | dict(rest.parts),
        max(critical.error_bound, rest.error_bound),
    )


def count_critical(shape: tuple[int, ...], share: float) -> int:
    """Critical columns of a tensor: a share of all, to the nearest multiple of 8, 8 at least.

    0 for what is no matrix, for narrow matrices, and for a share of 0.
    """
    if len(shape) != 2 or shape[1] < FEWEST_COLUMNS or share == 0:
        return 0
    return max(1, round(share * shape[1] / COLUMN_STEP)) * COLUMN_STEP


def column_scores(
    source: WeightSource,
    settings: LatticeSettings | TrellisSettings,
    name: str,
    diagonal: NDArray[np.float32] | None,
) -> NDArray[np.float64]:
    """How much every column matters, float64 (columns,); the matrix is read a few rows at a time.

    activation: the mean of w^2 over rows times the mean square of the column's input, what the
    output would lose without the column; weight: the mean of |w|; random: drawn by seed, name and
    shape. Blocks are added in order: the scores are the same for any number of threads.
    """
    rows, columns = source.shape
    if settings.importance == "random":
        digest = hashlib.sha256(name.encode()).digest()
        seed = [settings.seed, int.from_bytes(digest[:8], "little"), rows, columns]
        return np.random.default_rng(seed).random(columns)
    power = 1 if settings.importance == "weight" else 2
    inputs = np.ones(columns) if power == 1 else checked_inputs(diagonal, columns)

    def powers(weights: NDArray[np.float32]) -> NDArray[np.float64]:
        each = np.abs(weights.astype(np.float64)) ** power
        total: NDArray[np.float64] = each.reshape(-1, columns).sum(axis=0)
        return total

    sums = np.zeros(columns)
    for block in map_blocks(source, rows_at_once(columns) * columns, powers):
        sums += block
    return sums / rows * inputs


def checked_inputs(diagonal: NDArray[np.float32] | None, columns: int) -> NDArray[np.float64]:
    """The mean square of every input, float64 (columns,); WeightError unless it is one."""
    if diagonal is None:
        raise WeightError('importance "activation" needs the mean square of every input')
    if diagonal.shape != (columns,):
        raise WeightError(f"statistics of {diagonal.size} inputs, expected {columns}")
    bad = ~(np.isfinite(diagonal) & (diagonal >= 0))
    if bad.any():
        i = int(np.argmax(bad))
        raise WeightError(f"mean square of input {i} is {diagonal[i]}, expected 0 or more")
    return diagonal.astype(np.float64)


def column_order(scores: NDArray[np.float64], n_critical: int) -> NDArray[np.int64]:
    """The column at each position, int64 (columns,): critical ones by falling score, then the rest.

    The rest keeps its order, so that neighbours still share a scale. Of equal columns the first
    is taken.
    """
    critical = np.argsort(-scores, kind="stable")[:n_critical]
    return np.concatenate([critical, np.setdiff1d(np.arange(len(scores)), critical)])


def rows_at_once(columns: int) -> int:
    """Rows of a matrix that are read at once."""
    return max(1, READ_WEIGHTS // columns)
