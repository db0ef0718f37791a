"""A tensor in a format: its shape, and its parts as flat arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats.columns import CRITICAL_PREFIX, ColumnsFormat, PlainFormat
from runtime_ops.formats.crvq import CrvqFormat
from runtime_ops.formats.part import FormatError, check_row_scales, checked_weights, matrix_sides
from runtime_ops.formats.trellis import TrellisFormat
from runtime_ops.formats.uniform import UniformFormat, check_padding
from runtime_ops.formats.winding import WindingFormat, check_params

Format = PlainFormat | ColumnsFormat


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
        checked_weights(self.shape)
        specs = self.format.part_specs(self.shape)
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
        for fmt, parts in matrices(self):
            if isinstance(fmt, WindingFormat):
                check_params(fmt, parts["params"])
            elif isinstance(fmt, CrvqFormat | TrellisFormat | UniformFormat):
                check_row_scales(parts)
            if isinstance(fmt, UniformFormat):
                check_padding(parts["scales"], matrix_sides(self.shape)[0])

    @property
    def n_weights(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Bytes of all parts, without the file's alignment and the tables of the format."""
        return sum(part.nbytes for part in self.parts.values())


def matrices(
    tensor: EncodedTensor,
) -> list[tuple[PlainFormat, dict[str, NDArray[np.generic]]]]:
    """What a tensor is made of: format and parts, by their own names; critical columns first."""
    fmt = tensor.format
    if not isinstance(fmt, ColumnsFormat):
        return [(fmt, dict(tensor.parts))]
    n = len(CRITICAL_PREFIX)
    critical = {k[n:]: v for k, v in tensor.parts.items() if k.startswith(CRITICAL_PREFIX)}
    rest = {k: v for k, v in tensor.parts.items() if not k.startswith(CRITICAL_PREFIX)}
    return [*([(fmt.critical, critical)] if fmt.critical is not None else []), (fmt.rest, rest)]
