"""A tensor's weights, counted as they are read: how far an encoder is inside a tensor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode import WeightSource

__all__ = ["CountedSource"]


@dataclass
class CountedSource:
    """A WeightSource that reports, after each read, the weights read so far, pieces of all passes.

    Encoders read from several threads; `report` is called by one at a time.
    """

    source: WeightSource
    report: Callable[[int], None]
    n_read: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sides, slowest first."""
        return self.source.shape

    def read(self, first: int, count: int) -> NDArray[np.float32]:
        """See WeightSource."""
        weights = self.source.read(first, count)
        with self.lock:
            self.n_read += count
            self.report(self.n_read)
        return weights
