"""What all formats share: limits, the error, descriptions of parts, and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

MAX_WEIGHTS = 1 << 40
MAX_DIMS = 8
# Scales live in this range (or are exactly 0): a scale times an integer below 2**17 is then neither
# subnormal nor infinite, so that ARMv7 NEON, which flushes subnormals, decodes the same bits.
MIN_SCALE = 2.0**-64
MAX_SCALE = 2.0**64
MIN_ROW_SCALE = 2.0**-14  # smallest float16 that is not subnormal


class FormatError(ValueError):
    """A format, a part or a code stream that breaks the specification (docs/format.md)."""


@dataclass(frozen=True, slots=True)
class PartSpec:
    """What a part must look like: its name, its dtype and its number of elements."""

    name: str
    dtype: np.dtype[np.generic]
    size: int


@dataclass(frozen=True)
class Table:
    """An array that formats refer to; those with the same contents share it in a file.

    `dtype` is numpy's text of the element type, little-endian: `<i2`, `|i1` or `<u2`.
    """

    dtype: str
    data: bytes

    @staticmethod
    def of(array: NDArray[np.generic]) -> Table:
        """The table that holds the array's elements in C order; int8, int16 or uint16."""
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        if little.dtype.str not in ("<i2", "|i1", "<u2"):
            raise FormatError(f"table is {array.dtype}, expected int8, int16 or uint16")
        return Table(little.dtype.str, little.tobytes())

    @cached_property
    def array(self) -> NDArray[np.generic]:
        """The elements, one-dimensional and read-only."""
        return np.frombuffer(self.data, self.dtype)

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """The elements as Python's integers, made once however many formats hold them."""
        return tuple(self.array.tolist())


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


def matrix_sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a tensor seen as a matrix: its first side, and all others together."""
    rows = shape[0] if shape else 1
    return rows, math.prod(shape) // rows


def check_scales(values: NDArray[np.generic], what: str) -> None:
    """FormatError unless every value is 0 or in the range that decodes alike on every machine."""
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        magnitudes = np.abs(values.astype(np.float64))
    in_range = (magnitudes == 0) | ((magnitudes >= MIN_SCALE) & (magnitudes <= MAX_SCALE))
    if not in_range.all():  # NaN is not in range
        raise FormatError(f"{what} hold a value outside 0 and +-[{MIN_SCALE}, {MAX_SCALE}]")


def check_row_scales(parts: Mapping[str, NDArray[np.generic]]) -> None:
    """FormatError unless the row scales (float16) and their factor (float32) decode everywhere."""
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        scales = parts["scales"].astype(np.float64)
    if not ((scales == 0) | ((scales >= MIN_ROW_SCALE) & (scales < np.inf))).all():
        raise FormatError(f"scales hold a value outside 0 and [{MIN_ROW_SCALE}, 65504]")
    check_scales(parts["params"], "params")
    if float(parts["params"][0]) < 0:
        raise FormatError("params hold a negative scale")
