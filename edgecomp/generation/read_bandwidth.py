"""How fast memory can be read: what a model's weights cannot come faster than."""

from __future__ import annotations

import ctypes
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np

__all__ = ["read_bandwidth"]

PASSES = 5
PASS_BYTES = 1 << 26  # of a thread's pass at least
MAX_BYTES = 1 << 28  # beyond every cache


def read_bandwidth(n_bytes: int, threads: int) -> float:
    """Bytes a second that threads read together, over and over, of memory of a size: the median.

    What fits into a cache is read from there, as a model of that size would be. They search for a
    byte that is not there with the C library's memchr: glibc's reads as fast as a loop in C that
    adds up words (x86-64), numpy's reductions a fifth slower.
    """
    size = max(1 << 12, min(n_bytes, MAX_BYTES) // threads)
    memory = np.ones(size * threads, np.uint8)
    times = -(-PASS_BYTES // size)
    search = ctypes.CDLL(None).memchr  # gives the interpreter's lock up while it runs
    search.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    search.restype = ctypes.c_void_p

    def read(part: int) -> None:
        for _ in range(times):
            search(memory.ctypes.data + part * size, 0, size)

    rates = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(PASSES + 1):
            start = time.perf_counter()
            list(pool.map(read, range(threads)))
            rates.append(size * threads * times / (time.perf_counter() - start))
    return median(rates[1:])  # the first pass starts the threads
