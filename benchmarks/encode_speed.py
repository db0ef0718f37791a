"""Weights per second of encoding (all cores) and of decoding in C (one core), numpy's beside.

numpy encodes windings by comparing with all points, at one scale and without classes (less work
than the encoder does, which pays off below some 300 points), trellises not at all, and decodes by
runtime_ops/reference. Trellises get the weights as they are, neither rotated nor with feedback.
Figures are medians; `peer_ratio` is the rate over numpy's in the same run. Example:
`python benchmarks/encode_speed.py --json`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rows import Row, note, print_rows

from devices.host import usable_cores
from edgecomp.encode import (
    ArraySource,
    LatticeSettings,
    PaperSettings,
    Settings,
    TrellisSettings,
    encode,
)
from edgecomp.encode.settings.trellis import StateBits
from runtime_ops import EncodedTensor, WindingFormat, native, reference

SIGMA = 0.02
NUMPY_MOST_POINTS = 1 << 12  # comparing with more points than this takes minutes
LEAST_ROWS = 16 * usable_cores()  # a band of a trellis for every core
TRELLIS_SHARES: dict[StateBits, int] = {8: 1, 10: 2, 12: 8, 16: 64}


@dataclass(frozen=True)
class Case:
    """Settings to time, and their name."""

    name: str
    settings: Settings
    share: int = 1  # of the weights that are encoded: one in so many


CASES = [
    Case("paper, U 225", PaperSettings(points=(225,))),
    Case("paper, U 1600", PaperSettings(points=(1600,))),
    Case("lattice, D 2, U 256", LatticeSettings(bits=4, dim=2)),
    Case("lattice, D 2, U 1600", LatticeSettings(points=1600, dim=2)),
    Case("lattice, D 2, U 256, uniform", LatticeSettings(bits=4, dim=2, companded=False)),
    Case("lattice, D 4, U 4096 (3 bits)", LatticeSettings(bits=3)),
    Case("lattice, D 4, U 65536 (4 bits)", LatticeSettings(bits=4)),
    *(
        Case(
            f"trellis, L {state_bits}, {bits} bits",
            TrellisSettings(bits, state_bits, rotate=False, feedback=False),
            share,
        )
        for state_bits, share in TRELLIS_SHARES.items()
        for bits in (1, 2, 3, 4)
    ),
]


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of `repeats` runs after a first one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def numpy_encode(tensor: EncodedTensor, weights: NDArray[np.float32]) -> object:
    """Indices by comparing with every point: |p|**2 - 2 w.p, as one matrix product a chunk."""
    fmt = tensor.format
    assert isinstance(fmt, WindingFormat)
    params = tensor.parts["params"].astype(np.float32)
    every = np.arange(fmt.codes, dtype=np.uint32)
    points = reference.decode_f32_wd(fmt, every, params, np.ones(1, np.float32))
    norms = np.square(points).sum(1)
    chunks = np.array_split(weights.reshape(-1, fmt.dim), max(1, weights.size // (1 << 13)))
    return [np.argmin(norms - 2 * chunk @ points.T, axis=1) for chunk in chunks]


def numpy_rate(tensor: EncodedTensor, weights: NDArray[np.float32]) -> float | None:
    """Weights per second of `numpy_encode`; None where it would take too long or does not apply."""
    fmt = tensor.format
    if not isinstance(fmt, WindingFormat) or fmt.points > NUMPY_MOST_POINTS:
        return None
    few = np.ascontiguousarray(weights[: max(1, weights.shape[0] // 64)])
    return few.size / median_seconds(lambda: numpy_encode(tensor, few), 3)


def case_rows(case: Case, weights: NDArray[np.float32], repeats: int) -> list[Row]:
    """Encode and decode rows of one case."""
    weights = weights[: max(LEAST_ROWS, len(weights) // case.share)]
    tensor = encode(ArraySource(weights), case.settings)
    seconds = median_seconds(lambda: encode(ArraySource(weights), case.settings), repeats)
    cores = usable_cores()
    rows: list[Row] = []

    def add(what: str, how: str, threads: int, rate: float, peer: float | None) -> None:
        rows.append(
            {
                "codec": tensor.format.codec,
                "settings": case.name,
                "what": what,
                "how": how,
                "weights_per_second": rate,
                "threads": threads,
                "peer_ratio": None if peer is None else rate / peer,
            }
        )

    peer = numpy_rate(tensor, weights)
    add("encode", "c", cores, weights.size / seconds, peer)
    if peer is not None:
        add("encode", "numpy", cores, peer, None)
    peer = weights.size / median_seconds(lambda: reference.decode(tensor), 3)
    for isa in native.instruction_sets():
        seconds = median_seconds(partial(native.decode, tensor, isa), repeats)
        add("decode", isa, 1, weights.size / seconds, peer)
    add("decode", "numpy", 1, peer, None)
    return rows


def main() -> None:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="2 M weights instead of 16 M, 3 runs")
    arguments = parser.parse_args()
    rows_of_weights = 512 if arguments.quick else 4096
    rng = np.random.default_rng(20261122)
    weights = rng.normal(0, SIGMA, (rows_of_weights, 4096)).astype(np.float32)
    rows: list[Row] = []
    for case in CASES:
        note(case.name)
        rows += case_rows(case, weights, 3 if arguments.quick else 5)
    print_rows(rows, arguments.json)


if __name__ == "__main__":
    main()
