"""Cutting a tensor into blocks that are encoded in parallel and joined in order.

Blocks are cut where indices, groups and packed bytes all end, at places that depend on the format
alone, so that any number of threads gives the same bytes. Only a few blocks are in memory at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from devices.host import usable_cores
from edgecomp.encode.source import WeightError, WeightSource
from runtime_ops.formats import WindingFormat

BLOCK_INDICES = 1 << 14  # about: tensors of 100,000 weights still keep several cores busy

Result = TypeVar("Result")


def block_weights(fmt: WindingFormat) -> int:
    """Weights of a block: whole groups, and indices that fill whole bytes or words."""
    step = 8 if fmt.packing == "bits" else fmt.digits
    step = math.lcm(step, fmt.group // fmt.dim or 1)
    return max(1, BLOCK_INDICES // step) * step * fmt.dim


def map_blocks(
    source: WeightSource, size: int, work: Callable[[NDArray[np.float32]], Result]
) -> Iterator[Result]:
    """`work` of every block of `size` weights, in order; WeightError when one is not finite."""
    n_weights = math.prod(source.shape)

    def block(first: int) -> Result:
        weights = source.read(first, min(size, n_weights - first))
        check_finite(weights, first)
        return work(weights)

    threads = usable_cores()
    with ThreadPoolExecutor(threads) as pool:
        waiting: list[Future[Result]] = []
        try:
            for first in range(0, n_weights, size):
                waiting.append(pool.submit(block, first))
                if len(waiting) > threads:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()
        finally:
            for future in waiting:
                future.cancel()


class PartWriter:
    """An array of known size that is filled piece by piece, so that it is in memory only once."""

    def __init__(self, size: int, dtype: str) -> None:
        self.array: NDArray[np.generic] = np.empty(size, dtype)
        self._filled = 0

    def append(self, piece: NDArray[np.generic]) -> None:
        """Puts `piece` behind the pieces before it."""
        self.array[self._filled : self._filled + len(piece)] = piece
        self._filled += len(piece)


def check_finite(weights: NDArray[np.float32], first: int) -> None:
    """WeightError with the place of the first NaN or infinite weight, if there is one."""
    finite = np.isfinite(weights)
    if not finite.all():
        i = int(np.argmin(finite))
        raise WeightError(f"weight {first + i} is {weights[i]}, expected finite weights")
