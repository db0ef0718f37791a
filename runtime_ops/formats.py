"""The formats a tensor can be stored in, and the tensor in that form.

A *format* is a codec with its parameters; many tensors of a file share one. An `EncodedTensor` is a
format, a shape and the *parts*: flat arrays of bytes or floats whose sizes follow from the two, so
that a reader can check every size before it touches the data.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

MAX_WEIGHTS = 1 << 40
MAX_DIMS = 8
MAX_POINTS = 1 << 24
MAX_CLASSES = 16
MAX_LEVELS = 1 << 16
MAX_GROUP = 1 << 16
# Scales live in this range (or are exactly 0): a scale times an integer below 2**17 is then neither
# subnormal nor infinite, so that ARMv7 NEON, which flushes subnormals, decodes the same bits.
MIN_SCALE = 2.0**-64
MAX_SCALE = 2.0**64


class FormatError(ValueError):
    """A format, a part or a code stream that breaks the specification (docs/format.md)."""


@dataclass(frozen=True, slots=True)
class PartSpec:
    """What a part must look like: its name, its dtype and its number of elements."""

    name: str
    dtype: np.dtype[np.generic]
    size: int


@dataclass(frozen=True, slots=True)
class RawFormat:
    """Weights kept as they are, in float32, or in float16 where that loses nothing."""

    dtype: Literal["f16", "f32"] = "f32"
    codec: ClassVar[str] = "raw"

    def __post_init__(self) -> None:
        if self.dtype not in ("f16", "f32"):
            raise FormatError(f"raw: dtype is {self.dtype!r}, expected 'f16' or 'f32'")

    def part_specs(self, n_weights: int) -> tuple[PartSpec, ...]:
        """The parts of a tensor of `n_weights` weights, in file order."""
        return (PartSpec("raw", np.dtype("<f2" if self.dtype == "f16" else "<f4"), n_weights),)


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

    def part_specs(self, n_weights: int) -> tuple[PartSpec, ...]:
        """The parts of a tensor of `n_weights` weights, in file order."""
        parts = [PartSpec("codes", np.dtype("u1"), self.code_bytes(n_weights))]
        if self.group:
            parts.append(PartSpec("scales", np.dtype("u1"), -(-n_weights // self.group)))
        parts.append(PartSpec("params", np.dtype("<f4"), self.dim + self.classes))
        return tuple(parts)


Format = RawFormat | WindingFormat


def radix_digits(radix: int) -> int:
    """Largest n with radix**n <= 2**64."""
    n = 0
    product = 1
    while product * radix <= 1 << 64:
        product *= radix
        n += 1
    return n


@dataclass(frozen=True)
class EncodedTensor:
    """A tensor as codes. `parts` follow `format.part_specs`; checked on construction.

    `error_bound` is the largest Euclidean distance that any vector of `dim` weights may have from
    the original one, in the weights' own unit (0 for raw tensors).
    """

    format: Format
    shape: tuple[int, ...]
    parts: Mapping[str, NDArray[np.generic]]
    error_bound: float = 0.0

    def __post_init__(self) -> None:
        n_weights = checked_weights(self.shape)
        specs = self.format.part_specs(n_weights)
        if tuple(self.parts) != tuple(spec.name for spec in specs):
            raise FormatError(f"parts are {list(self.parts)}, expected {[s.name for s in specs]}")
        for spec in specs:
            part = self.parts[spec.name]
            if part.dtype != spec.dtype or part.shape != (spec.size,):
                raise FormatError(
                    f"part {spec.name} is {part.dtype}{part.shape}, "
                    f"expected {spec.dtype}({spec.size},)"
                )
        if not (math.isfinite(self.error_bound) and self.error_bound >= 0):
            raise FormatError(f"error_bound is {self.error_bound}, expected a finite value >= 0")
        if isinstance(self.format, WindingFormat):
            check_params(self.format, self.parts["params"])

    @property
    def n_weights(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Bytes of all parts, without the file's alignment."""
        return sum(part.nbytes for part in self.parts.values())


def checked_weights(shape: tuple[int, ...]) -> int:
    """Number of weights of a shape; FormatError when it breaks the limits."""
    if not 0 <= len(shape) <= MAX_DIMS:
        raise FormatError(f"shape has {len(shape)} dimensions, expected at most {MAX_DIMS}")
    n = 1
    for side in shape:
        if side < 1:
            raise FormatError(f"shape {shape} has an empty side")
        n *= side
        if n > MAX_WEIGHTS:
            raise FormatError(f"shape {shape} has more than {MAX_WEIGHTS} weights")
    return n


def check_params(fmt: WindingFormat, params: NDArray[np.generic]) -> None:
    """FormatError unless every centre and scale is 0 or in the range that decodes everywhere."""
    values = np.abs(params.astype(np.float64))
    in_range = (values == 0) | ((values >= MIN_SCALE) & (values <= MAX_SCALE))  # False for NaN
    if not in_range.all():
        raise FormatError(f"params hold a value outside 0 and +-[{MIN_SCALE}, {MAX_SCALE}]")
    if (params[fmt.dim :].astype(np.float64) < 0).any():
        raise FormatError("params hold a negative scale")
