"""Vectors of weights as points of a winding: Hyper-Compression."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats.part import FormatError, PartSpec, check_scales

MAX_POINTS = 1 << 24
MAX_CLASSES = 16
MAX_LEVELS = 1 << 16
MAX_GROUP = 1 << 16


@dataclass(frozen=True, slots=True)
class WindingFormat:
    """Vectors of `dim` weights as points of a winding (docs/format.md, "winding").

    An index stands for a class and a code; the code is the centre node (code 0, if `centre`) or the
    k-th point. Point k has the coordinates
    `x_d = ((k * generator_d + shift_d) mod 2**32) * levels >> 32`, integers below `levels`;
    `x_d` becomes `table[x_d]`, or `2 * x_d + offset - levels` without a table, and that times a
    scale, plus the centre, is the weight. Hyper-Compression (arXiv 2409.00592), with the arithmetic
    done in integers modulo 2**32.
    """

    dim: int  # weights per index, 1..4
    points: int  # U, 2..2**24
    generator: tuple[int, ...]  # A_d, dim of them, 1..2**32 - 1
    shift: tuple[int, ...]  # B_d, dim of them, 0..2**32 - 1
    levels: int  # N, 2..2**16; a power of two if there is a table
    offset: int  # 0: points start at the corner (as published); 1: they are centred
    centre: bool  # code 0 is the centre node
    classes: int  # M + 1, 1..16
    group: int  # weights that share a scale, a multiple of dim; 0: no group scales
    packing: Literal["bits", "radix"]  # indices in ceil(log2 radix) bits, or several in 64 bits
    table: tuple[int, ...] | None = None  # int16, ascending; None: linear
    codec: ClassVar[str] = "winding"

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, expected: str) -> None:
            if not ok:
                value = getattr(self, field)
                raise FormatError(f"winding: {field} is {value!r}, expected {expected}")

        need(1 <= self.dim <= 4, "dim", "1..4")
        need(2 <= self.points <= MAX_POINTS, "points", f"2..{MAX_POINTS}")
        generator_ok = all(1 <= a < 1 << 32 for a in self.generator)
        need(
            len(self.generator) == self.dim and generator_ok,
            "generator",
            "dim values in 1..2**32-1",
        )
        shift_ok = all(0 <= b < 1 << 32 for b in self.shift)
        need(len(self.shift) == self.dim and shift_ok, "shift", "dim values in 0..2**32-1")
        need(2 <= self.levels <= MAX_LEVELS, "levels", f"2..{MAX_LEVELS}")
        need(self.offset in (0, 1), "offset", "0 or 1")
        need(1 <= self.classes <= MAX_CLASSES, "classes", f"1..{MAX_CLASSES}")
        need(
            0 <= self.group <= MAX_GROUP and self.group % self.dim == 0,
            "group",
            f"0 or a multiple of dim up to {MAX_GROUP}",
        )
        need(self.packing in ("bits", "radix"), "packing", "'bits' or 'radix'")
        if self.table is not None:
            values = self.table
            in_range = all(-(1 << 15) <= v < 1 << 15 for v in values)
            ascending = all(a <= b for a, b in itertools.pairwise(values))
            need(self.levels & (self.levels - 1) == 0, "levels", "a power of two with a table")
            if len(values) != self.levels or not in_range or not ascending:
                raise FormatError("winding: table must hold `levels` ascending int16 values")

    @property
    def codes(self) -> int:
        """Codes per class: the points, and the centre node where there is one."""
        return self.points + int(self.centre)

    @property
    def radix(self) -> int:
        """Number of different indices."""
        return self.codes * self.classes

    @property
    def index_bits(self) -> int:
        """Bits of one index with packing 'bits'."""
        return (self.radix - 1).bit_length()

    @property
    def digits(self) -> int:
        """Indices in one 64-bit word with packing 'radix'."""
        return radix_digits(self.radix)

    @property
    def index_bpw(self) -> float:
        """Bits per weight of the indices alone."""
        bits = self.index_bits if self.packing == "bits" else 64 / self.digits
        return bits / self.dim

    def n_indices(self, n_weights: int) -> int:
        """Indices of a tensor of `n_weights` weights; the last one may be padded."""
        return -(-n_weights // self.dim)

    def code_bytes(self, n_weights: int) -> int:
        """Bytes of the part 'codes'."""
        n = self.n_indices(n_weights)
        if self.packing == "bits":
            return -(-n * self.index_bits // 8)
        return -(-n // self.digits) * 8

    def part_specs(self, shape: tuple[int, ...]) -> tuple[PartSpec, ...]:
        """The parts of a tensor of that shape, in file order."""
        n_weights = math.prod(shape)
        parts = [PartSpec("codes", np.dtype("u1"), self.code_bytes(n_weights))]
        if self.group:
            parts.append(PartSpec("scales", np.dtype("u1"), -(-n_weights // self.group)))
        parts.append(PartSpec("params", np.dtype("<f4"), self.dim + self.classes))
        return tuple(parts)


def radix_digits(radix: int) -> int:
    """Largest n with radix**n <= 2**64."""
    n = 0
    product = 1
    while product * radix <= 1 << 64:
        product *= radix
        n += 1
    return n


def check_params(fmt: WindingFormat, params: NDArray[np.generic]) -> None:
    """FormatError unless every centre and scale is 0 or in the range that decodes everywhere."""
    check_scales(params, "params")
    if (params[fmt.dim :].astype(np.float64) < 0).any():
        raise FormatError("params hold a negative scale")
