"""Weights as small integers times a scale that neighbouring columns share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats.part import FormatError, PartSpec, matrix_sides
from runtime_ops.formats.trellis import BAND_ROWS, STRIP_COLUMNS, TILE_WEIGHTS

UNIFORM_BITS = (2, 4, 8)
GROUP_STEP, MAX_GROUP = 32, 1 << 16  # columns


@dataclass(frozen=True, slots=True)
class UniformFormat:
    """Integers of `bits` bits, `group` columns of a row with one scale (docs/format.md, "uniform").

    `w = (scale * params[0]) * value`, value in -2**(bits - 1) .. 2**(bits - 1) - 1. The matrix is
    cut into tiles of 16 rows and 4 columns; a band is the tiles of 16 rows, left to right.
    """

    bits: int  # one of UNIFORM_BITS
    group: int  # columns that share a scale, a multiple of 32, 32..65536
    codec: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        if self.bits not in UNIFORM_BITS:
            raise FormatError(f"uniform: bits is {self.bits}, expected one of {UNIFORM_BITS}")
        if not GROUP_STEP <= self.group <= MAX_GROUP or self.group % GROUP_STEP:
            raise FormatError(
                f"uniform: group is {self.group}, "
                f"expected a multiple of {GROUP_STEP} up to {MAX_GROUP}"
            )

    @property
    def tile_bytes(self) -> int:
        """Bytes of a tile."""
        return TILE_WEIGHTS * self.bits // 8

    def bands(self, shape: tuple[int, ...]) -> int:
        """Bands of a matrix; the last one may reach beyond it."""
        return -(-matrix_sides(shape)[0] // BAND_ROWS)

    def tiles(self, shape: tuple[int, ...]) -> int:
        """Tiles of a band; the last one may reach beyond the matrix."""
        return -(-matrix_sides(shape)[1] // STRIP_COLUMNS)

    def groups(self, shape: tuple[int, ...]) -> int:
        """Groups of a row; the last one may have less columns."""
        return -(-matrix_sides(shape)[1] // self.group)

    def part_specs(self, shape: tuple[int, ...]) -> tuple[PartSpec, ...]:
        """The parts of a tensor of that shape, in file order."""
        bands = self.bands(shape)
        return (
            PartSpec("codes", np.dtype("u1"), bands * self.tiles(shape) * self.tile_bytes),
            PartSpec("scales", np.dtype("<f2"), bands * self.groups(shape) * BAND_ROWS),
            PartSpec("params", np.dtype("<f4"), 1),
        )


def check_padding(scales: NDArray[np.generic], rows: int) -> None:
    """FormatError unless the scales of rows beyond the matrix are 0; `scales` as in the file."""
    left = rows % BAND_ROWS
    groups = scales.size // BAND_ROWS // -(-rows // BAND_ROWS)
    if left and scales.reshape(-1, BAND_ROWS)[-groups:, left:].any():
        raise FormatError("uniform: scales beyond the rows are not 0")
