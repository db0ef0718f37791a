"""Weights kept as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from runtime_ops.formats.part import FormatError, PartSpec


@dataclass(frozen=True, slots=True)
class RawFormat:
    """Weights kept as they are, in float32, or in float16 where that loses nothing."""

    dtype: Literal["f16", "f32"] = "f32"
    codec: ClassVar[str] = "raw"

    def __post_init__(self) -> None:
        if self.dtype not in ("f16", "f32"):
            raise FormatError(f"raw: dtype is {self.dtype!r}, expected 'f16' or 'f32'")

    def part_specs(self, shape: tuple[int, ...]) -> tuple[PartSpec, ...]:
        """The parts of a tensor of that shape, in file order."""
        dtype = np.dtype("<f2" if self.dtype == "f16" else "<f4")
        return (PartSpec("raw", dtype, math.prod(shape)),)
