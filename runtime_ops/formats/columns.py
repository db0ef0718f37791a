"""A matrix whose columns are reordered, the first of them, if wished, in a format of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats.crvq import CrvqFormat
from runtime_ops.formats.part import FormatError, PartSpec, Table, matrix_sides
from runtime_ops.formats.raw import RawFormat
from runtime_ops.formats.trellis import TrellisFormat
from runtime_ops.formats.uniform import UniformFormat
from runtime_ops.formats.winding import WindingFormat

MAX_PERMUTED = 1 << 16  # columns that a permutation of uint16 can name
CRITICAL_PREFIX = "critical_"

PlainFormat = RawFormat | WindingFormat | CrvqFormat | TrellisFormat | UniformFormat


@dataclass(frozen=True, slots=True)
class ColumnsFormat:
    """A matrix of two formats: some critical input columns at a rate of their own, and the rest.

    Position j of the stored matrix is column `permutation[j]` of the tensor (column j without a
    permutation). The first `n_critical` positions are a matrix in the format `critical`, all others
    one in the format `rest`. Works for any codec; CRVQ's own extended codebooks do not need it, but
    its permutation lies here.
    """

    rest: PlainFormat
    critical: PlainFormat | None = None
    n_critical: int = 0  # 0 if and only if `critical` is None
    permutation: Table | None = None  # uint16, every number below the columns once
    codec: ClassVar[str] = "columns"

    def __post_init__(self) -> None:
        if (self.critical is None) != (self.n_critical == 0) or self.n_critical < 0:
            raise FormatError(
                f"columns: n_critical is {self.n_critical}, which does not fit critical"
            )
        if self.critical is None and self.permutation is None:
            raise FormatError("columns: neither a permutation nor critical columns")
        if self.permutation is not None:
            order = self.permutation.array
            if self.permutation.dtype != "<u2" or not 1 <= order.size <= MAX_PERMUTED:
                raise FormatError("columns: permutation is not uint16 of 1 to 65536")
            if not np.array_equal(np.sort(order), np.arange(order.size)):
                raise FormatError("columns: permutation does not hold every column once")

    @property
    def order(self) -> NDArray[np.int64] | None:
        """The tensor's column at each position, int64 (columns,); None: as they come."""
        return None if self.permutation is None else self.permutation.array.astype(np.int64)

    def part_shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Shapes of the critical matrix and of the rest; FormatError if `shape` does not fit."""
        rows, columns = matrix_sides(shape)
        if self.permutation is not None and self.permutation.array.size != columns:
            found = self.permutation.array.size
            raise FormatError(f"columns: permutation of {found}, expected {columns} columns")
        if self.n_critical >= columns:
            raise FormatError(f"columns: {self.n_critical} critical, expected less than {columns}")
        return (rows, self.n_critical), (rows, columns - self.n_critical)

    def part_specs(self, shape: tuple[int, ...]) -> tuple[PartSpec, ...]:
        """The parts of a tensor of that shape, in file order: critical ones, then the rest's."""
        critical_shape, rest_shape = self.part_shapes(shape)
        specs = []
        if self.critical is not None:
            specs += [
                PartSpec(CRITICAL_PREFIX + spec.name, spec.dtype, spec.size)
                for spec in self.critical.part_specs(critical_shape)
            ]
        return (*specs, *self.rest.part_specs(rest_shape))
