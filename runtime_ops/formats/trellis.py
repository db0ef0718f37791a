"""Weights as values of a window that slides over a bit string: trellis codes from a winding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats.part import FormatError, PartSpec, Table, matrix_sides

STATE_BITS = (8, 10, 12, 16)
MAX_STEP_BITS = 8
MIN_TABLE_BITS, MAX_TABLE_BITS = 4, 12
MAX_ROTATION = 1 << 12  # columns that are rotated together
BAND_ROWS, STRIP_COLUMNS = 16, 4  # of a tile
TILE_WEIGHTS = BAND_ROWS * STRIP_COLUMNS


@dataclass(frozen=True, slots=True)
class TrellisFormat:
    """A winding read through a shift register (docs/format.md, "trellis").

    The matrix is cut into tiles of 16 rows and 4 columns; a band is the tiles of 16 rows, left to
    right, its codes one bit string. Step t of it gives `dim` weights: its state s are the
    `state_bits` bits from bit `t * step_bits` on, low bits first, and with `x = s ^ (s >> fold)`
    (`x = s` if fold is 0) weight d is
    `table[(multipliers[d] * x mod 2**state_bits) >> (state_bits - log2(len(table)))]` times the
    row's scale times params[0]. So a step has `step_bits` bits of its own and shares the others
    with those that follow; 2**step_bits neighbouring integers are the states that it may have.

    With `rotation` n the stored matrix is V with W = V R: R flips the signs of columns (a hash of
    `seed` and the column) and then applies Hadamard matrices of n columns, entries +-1, to
    neighbouring ones.
    """

    state_bits: int  # L: 8, 10, 12 or 16
    step_bits: int  # k, 1..8, less than state_bits
    multipliers: tuple[int, ...]  # one per weight of a step, odd, below 2**state_bits
    table: Table  # int8 or int16, 2**4 to 2**12 entries, at most 2**state_bits
    fold: int = 0  # 0: none, else below state_bits
    rotation: int = 0  # 0: none, else a power of two that divides the columns, 2..4096
    seed: int = 0  # of the signs, below 2**32; 0 without a rotation
    codec: ClassVar[str] = "trellis"

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, expected: str) -> None:
            if not ok:
                found = getattr(self, field)
                raise FormatError(f"trellis: {field} is {found}, expected {expected}")

        need(self.state_bits in STATE_BITS, "state_bits", f"one of {STATE_BITS}")
        most = min(MAX_STEP_BITS, self.state_bits - 1)
        need(1 <= self.step_bits <= most, "step_bits", f"1..{most}")
        odd = all(a % 2 == 1 and 0 < a < 1 << self.state_bits for a in self.multipliers)
        need(
            len(self.multipliers) in (1, 2) and odd,
            "multipliers",
            f"one or two odd numbers below {1 << self.state_bits}",
        )
        need(0 <= self.fold < self.state_bits, "fold", f"0..{self.state_bits - 1}")
        size = self.table.array.size
        sizes = [1 << b for b in range(MIN_TABLE_BITS, min(MAX_TABLE_BITS, self.state_bits) + 1)]
        if self.table.dtype not in ("|i1", "<i2") or size not in sizes:
            raise FormatError(
                f"trellis: table is {self.table.dtype}({size},), "
                f"expected int8 or int16 of 2**{MIN_TABLE_BITS}..2**{MAX_TABLE_BITS} entries, "
                f"at most 2**{self.state_bits}"
            )
        power = self.rotation >= 2 and self.rotation & (self.rotation - 1) == 0
        need(
            self.rotation == 0 or (power and self.rotation <= MAX_ROTATION),
            "rotation",
            f"0 or a power of two in 2..{MAX_ROTATION}",
        )
        seeded = 0 <= self.seed < 1 << 32 if self.rotation else self.seed == 0
        need(seeded, "seed", "0..2**32-1, 0 without a rotation")

    @property
    def dim(self) -> int:
        """Weights of a step."""
        return len(self.multipliers)

    @property
    def table_bits(self) -> int:
        """The logarithm of the table's size."""
        return self.table.array.size.bit_length() - 1

    @property
    def steps_per_tile(self) -> int:
        """Steps in a tile."""
        return TILE_WEIGHTS // self.dim

    @property
    def tile_bytes(self) -> int:
        """Bytes of a tile's own bits."""
        return self.steps_per_tile * self.step_bits // 8

    @property
    def tail_bytes(self) -> int:
        """Bytes behind a band's tiles, which the last steps share."""
        return -(-(self.state_bits - self.step_bits) // 8)

    @property
    def order(self) -> NDArray[np.int64]:
        """Where the weights of a tile lie, int64 (64,): weight j of the string is element order[j].

        Elements are counted row by row. With one weight a step and steps that share a byte, the
        steps at one place in their bytes lie side by side, so that a vector of bytes, shifted,
        holds the states of neighbours.
        """
        per_byte = 8 // self.step_bits if self.dim == 1 and 8 % self.step_bits == 0 else 1
        j = np.arange(TILE_WEIGHTS)
        return j % per_byte * (TILE_WEIGHTS // per_byte) + j // per_byte

    def tiles(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Bands of a matrix, and tiles in each; weights beyond the matrix do not count."""
        rows, columns = matrix_sides(shape)
        return -(-rows // BAND_ROWS), -(-columns // STRIP_COLUMNS)

    def band_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of a band."""
        return self.tiles(shape)[1] * self.tile_bytes + self.tail_bytes

    def part_specs(self, shape: tuple[int, ...]) -> tuple[PartSpec, ...]:
        """The parts of a tensor of that shape, in file order; FormatError if it does not fit."""
        rows, columns = matrix_sides(shape)
        if self.rotation and columns % self.rotation:
            raise FormatError(
                f"trellis: rotation is {self.rotation}, expected a divisor of {columns} columns"
            )
        bands = self.tiles(shape)[0]
        return (
            PartSpec("codes", np.dtype("u1"), bands * self.band_bytes(shape)),
            PartSpec("scales", np.dtype("<f2"), rows),
            PartSpec("params", np.dtype("<f4"), 1),
        )
