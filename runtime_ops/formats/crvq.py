"""Groups of weights as sums of codewords, more of them in critical columns: CRVQ."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats.part import FormatError, PartSpec, Table, matrix_sides

CRVQ_DIMS = (1, 2, 4, 8, 16)
MAX_STAGES = 8
MAX_CODE_BITS = 8
MAX_SHIFT = 7
TABLE_DIM, TABLE_CODE_BITS = 8, 8  # of matrices whose products go by lookup tables, and
TABLE_ROWS = 256  # least rows of such a matrix; chosen by benchmarks/crvq_decode.py


@dataclass(frozen=True, slots=True)
class CrvqFormat:
    """Groups of `dim` weights of a row as sums of codewords (docs/format.md, "crvq").

    A matrix of `columns` columns has `ceil(columns / dim)` groups a row; weights of the last one
    beyond the row do not count. A group is the sum of a codeword from the first codebook and, for
    every stage k that covers it, one from codebook k; stage k covers the first
    `critical_groups[k - 1]` groups of a row, or none (tensors that share codebooks need not all
    use every one):
    `w = (scales[row] * params[0]) * sum_k(codebook[k][code_k] << shifts[k])`. With equal numbers
    this is CRVQ (arXiv 2412.09282) with integer codebooks; with all groups in every stage it is
    additive quantisation (AQLM).
    """

    dim: int  # weights in a group, one of CRVQ_DIMS
    code_bits: int  # e, 1..8: a codebook has 2**e codewords
    critical_groups: tuple[int, ...]  # of stages 1 and up, not increasing; 0: unused
    shifts: tuple[int, ...]  # one per codebook, 0..7; 1 to 8 codebooks
    codebooks: Table  # int8 or int16 (stages, 2**code_bits, dim)
    codec: ClassVar[str] = "crvq"

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, expected: str) -> None:
            if not ok:
                raise FormatError(f"crvq: {field} is {getattr(self, field)!r}, expected {expected}")

        need(self.dim in CRVQ_DIMS, "dim", f"one of {CRVQ_DIMS}")
        need(1 <= self.code_bits <= MAX_CODE_BITS, "code_bits", f"1..{MAX_CODE_BITS}")
        shifts_ok = all(0 <= s <= MAX_SHIFT for s in self.shifts)
        need(1 <= self.stages <= MAX_STAGES and shifts_ok, "shifts", "1..8 values in 0..7")
        numbers = self.critical_groups
        falling = all(a >= b for a, b in pairwise(numbers)) and all(n >= 0 for n in numbers)
        n = self.stages - 1
        need(len(numbers) == n and falling, "critical_groups", f"{n} values >= 0, not increasing")
        table = self.codebooks
        if table.dtype not in ("|i1", "<i2") or table.array.size != self.n_entries:
            found = f"{table.dtype}({table.array.size},)"
            raise FormatError(
                f"crvq: codebooks are {found}, expected int8 or int16 of {self.n_entries}"
            )

    @property
    def stages(self) -> int:
        """Number of codebooks: the basic one, and the extended ones of critical groups."""
        return len(self.shifts)

    @property
    def n_entries(self) -> int:
        """Numbers in all codebooks."""
        return self.stages * self.dim << self.code_bits

    @property
    def values(self) -> NDArray[np.int32]:
        """The codebooks with their shifts applied, int32 (stages, 2**code_bits, dim)."""
        entries = self.codebooks.array.astype(np.int32)
        shifts = np.array(self.shifts, np.int32)[:, None, None]
        return entries.reshape(self.stages, -1, self.dim) << shifts

    def groups(self, columns: int) -> int:
        """Groups in a row."""
        return -(-columns // self.dim)

    def stage_groups(self, stage: int, columns: int) -> int:
        """Groups of a row that a stage covers: the first ones."""
        return self.groups(columns) if stage == 0 else self.critical_groups[stage - 1]

    def group_stages(self, group: int) -> int:
        """How many stages cover a group: the first ones."""
        return 1 + sum(group < n for n in self.critical_groups)

    def uses_table(self, rows: int) -> bool:
        """Whether the product of a matrix of so many rows with a vector goes by lookup tables."""
        table = (self.dim, self.code_bits) == (TABLE_DIM, TABLE_CODE_BITS)
        return table and rows >= TABLE_ROWS

    def plane_row_bytes(self, stage: int, columns: int) -> int:
        """Bytes of a row of a stage's codes; every row starts at a whole byte."""
        return -(-self.stage_groups(stage, columns) * self.code_bits // 8)

    def part_specs(self, shape: tuple[int, ...]) -> tuple[PartSpec, ...]:
        """The parts of a tensor of that shape, in file order; FormatError if it is too narrow."""
        rows, columns = matrix_sides(shape)
        critical = max(self.critical_groups, default=0)
        if critical > self.groups(columns):
            raise FormatError(
                f"crvq: {critical} critical groups, "
                f"expected at most {self.groups(columns)} with {columns} columns"
            )
        planes = [rows * self.plane_row_bytes(stage, columns) for stage in range(self.stages)]
        extended = PartSpec("extended", np.dtype("u1"), sum(planes[1:]))
        return (
            PartSpec("codes", np.dtype("u1"), planes[0]),
            *([extended] if critical else []),
            PartSpec("scales", np.dtype("<f2"), rows),
            PartSpec("params", np.dtype("<f4"), 1),
        )
