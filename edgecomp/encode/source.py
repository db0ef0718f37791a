"""Where an encoder gets its weights from."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class WeightError(ValueError):
    """Weights that cannot be encoded: NaN, infinite, or outside the range of scales.

    `hint` says what to do about it.
    """

    def __init__(
        self, message: str, hint: str = "repair the checkpoint; nothing was written"
    ) -> None:
        super().__init__(message)
        self.hint = hint


class WeightSource(Protocol):
    """A tensor whose weights can be read in pieces, so that it need not fit into memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sides, slowest first."""

    def read(self, first: int, count: int) -> NDArray[np.float32]:
        """Weights first .. first + count - 1 in C order, float32 (count,)."""


class ArraySource:
    """An array of float16, float32 or float64 as a source.

    Weights count as float32: error bounds refer to the rounded ones. WeightError for other dtypes.
    """

    def __init__(self, array: NDArray[np.floating]) -> None:
        if array.dtype not in (np.float16, np.float32, np.float64):
            raise WeightError(f"weights are {array.dtype}, expected float16, float32 or float64")
        self.shape: tuple[int, ...] = array.shape
        self._flat = np.ascontiguousarray(array).reshape(-1)

    def read(self, first: int, count: int) -> NDArray[np.float32]:
        """See WeightSource."""
        with np.errstate(over="ignore"):  # too large for float32: infinite, and refused as such
            return self._flat[first : first + count].astype(np.float32)
