"""Row scales as files hold them: float16 beside one float32 for all."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode.source import WeightError
from runtime_ops.formats.part import MAX_SCALE, MIN_ROW_SCALE, MIN_SCALE


def stored_row_scales(
    scales: NDArray[np.float64], unit: float
) -> tuple[NDArray[np.float16], np.float32]:
    """Row scales as float16 and their common factor, of integers in units of `unit`.

    The largest is in 1..2; one below the smallest normal float16 becomes that or 0. WeightError
    when the factor is out of the range of scales.
    """
    largest = float(scales.max(initial=0.0))
    top = 2.0 ** math.floor(math.log2(largest)) if largest > 0 else 1.0
    factor = top * unit
    if not MIN_SCALE <= factor <= MAX_SCALE:
        raise WeightError(f"a scale of {largest * unit:.3g}, expected {MIN_SCALE}..{MAX_SCALE}")
    ratios = scales / top
    small = (ratios > 0) & (ratios < MIN_ROW_SCALE)
    ratios = np.where(small, np.where(ratios < MIN_ROW_SCALE / 2, 0, MIN_ROW_SCALE), ratios)
    return ratios.astype("<f2"), np.float32(factor)
