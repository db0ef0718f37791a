"""Where an encoder gets its weights from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class WeightError(ValueError):
    """Weights that cannot be encoded: NaN, infinite, or outside the range of scales."""


class WeightSource(Protocol):
    """A tensor whose weights can be read in pieces, so that it need not fit into memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sides, slowest first."""

    def read(self, first: int, count: int) -> NDArray[np.float32]:
        """Weights first .. first + count - 1 in C order, float32 (count,)."""


@dataclass(frozen=True)
class ArraySource:
    """An array as a source; for tests and for models that are in memory anyway."""

    array: NDArray[np.floating]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sides of the array."""
        return self.array.shape

    def read(self, first: int, count: int) -> NDArray[np.float32]:
        """See WeightSource."""
        return np.ravel(self.array)[first : first + count].astype(np.float32)
