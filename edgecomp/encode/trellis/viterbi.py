"""The cheapest path of states for every band of a matrix, in C."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.host import usable_cores
from edgecomp.encode._encoder import ffi, lib
from runtime_ops.formats import TrellisFormat
from runtime_ops.formats.trellis import BAND_ROWS

CData = Any  # cffi's objects have no static type


class Encoding:
    """A matrix that is being encoded from its last column to its first.

    `targets` float32 (rows, columns) are in units of the table; rows a multiple of 16, columns of
    4, padded with anything finite. What an error counts is its row's weight times its column's,
    both float32, 0 for padding. Feedback changes the targets. `values` float32 (rows, columns) are
    the table's values of what has been encoded, `codes` uint8 (bands, bytes of a band). `table`
    float32 stands in for the format's, for tables that are not integers yet.
    """

    def __init__(
        self,
        fmt: TrellisFormat,
        targets: NDArray[np.float32],
        row_weights: NDArray[np.float32],
        column_weights: NDArray[np.float32],
        table: NDArray[np.float32] | None = None,
    ) -> None:
        rows, columns = targets.shape
        self.targets = np.ascontiguousarray(targets)
        self.values = np.zeros_like(self.targets)
        bands = rows // BAND_ROWS
        self.codes = np.zeros((bands, fmt.band_bytes((rows, columns))), np.uint8)
        self._states = np.full(bands, lib.EC_ANY_STATE, np.uint32)
        self._keep: list[Any] = []
        self._job = job = ffi.new("ec_trellis_job *")
        search = job.search
        search.state_bits, search.step_bits = fmt.state_bits, fmt.step_bits
        search.dim = fmt.dim
        search.values = self._data("float[]", state_values(fmt, table))
        job.columns = columns
        job.order = self._data("uint8_t[]", fmt.order.astype(np.uint8))
        job.targets = self._data("float[]", self.targets)
        job.row_weights = self._data("float[]", row_weights)
        job.column_weights = self._data("float[]", column_weights)
        job.states = self._data("uint32_t[]", self._states)
        job.values = self._data("float[]", self.values)
        job.codes = self._data("uint8_t[]", self.codes.reshape(-1))
        job.band_bytes = self.codes.shape[1]

    def _data(self, c_type: str, array: NDArray[np.generic]) -> CData:
        if not array.flags.c_contiguous:
            raise ValueError("an array that is not contiguous")
        self._keep.append(ffi.from_buffer(c_type, array))
        return self._keep[-1]

    def encode(self, first: int, end: int, feedback: NDArray[np.float32] | None = None) -> None:
        """Encodes columns first .. end - 1, multiples of 4; those behind have been.

        `feedback` float32 (end - first, end - first): [c, p] is what an error of column first + c
        adds to the target of column first + p, in a strip before it.
        """
        self._job.first, self._job.end = first, end
        held = None if feedback is None else np.ascontiguousarray(feedback, np.float32)
        self._job.feedback = ffi.NULL if held is None else ffi.from_buffer("float[]", held)
        bands = len(self.codes)
        threads = min(usable_cores(), bands)
        bounds = [bands * i // threads for i in range(threads + 1)]
        size = lib.ec_trellis_scratch_bytes(ffi.addressof(self._job.search))

        def run(low: int, high: int) -> None:
            scratch = ffi.new("float[]", -(-size // 4))
            lib.ec_trellis_encode(self._job, low, high - low, scratch)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: run(*part), pairwise(bounds)))


def values_of_states(
    fmt: TrellisFormat, table: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """The value of every state, float32 (dim, 2**state_bits), in the order of their numbers."""
    values = fmt.table.array.astype(np.float32) if table is None else table
    states = np.arange(1 << fmt.state_bits, dtype=np.uint64)
    folded = states ^ states >> np.uint64(fmt.fold) if fmt.fold else states
    angles = np.outer(np.array(fmt.multipliers, np.uint64), folded) % (1 << fmt.state_bits)
    found: NDArray[np.float32] = values[angles >> np.uint64(fmt.state_bits - fmt.table_bits)]
    return found


def state_values(
    fmt: TrellisFormat, table: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """The same in the order of the C search."""
    found = values_of_states(fmt, table)
    placed = np.empty_like(found)
    placed[:, places(fmt.state_bits, fmt.step_bits)] = found
    return placed


@lru_cache(maxsize=8)
def places(state_bits: int, step_bits: int) -> NDArray[np.int64]:
    """Where the C search has each state, int64 (2**state_bits,)."""
    states = range(1 << state_bits)
    return np.array([lib.ec_trellis_place(state_bits, step_bits, s) for s in states], np.int64)
