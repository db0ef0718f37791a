"""What threads read, what they cost and how they work together, from the lines about them.

Whatever is not said by a line follows from products with weights in memory and devices/cost.py's
time = max(reading, computing) + (1 - overlap) * min(reading, computing).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from devices.profile import Bandwidth, BandwidthPoint, Cluster, Dispatch, Threading
from edgecomp.measuring.costs_from import incomplete, spread_of, width
from edgecomp.measuring.lines import Kernel, Measurements

__all__ = ["bandwidth_from", "threading_from", "weighted_median"]

LEAST_EFFICIENCY = 0.05
LONGEST_NS = 1e7


def bandwidth_from(found: Measurements) -> Bandwidth:
    """What threads read, by threads and bytes. MeasureError without one thread's."""
    rates: dict[tuple[int, float], list[float]] = {}
    for line in found.bandwidth:
        rates.setdefault((line.threads, line.bytes), []).append(line.bytes_per_second)
    if not any(threads == 1 for threads, _ in rates):
        raise incomplete("bandwidth of one thread")
    points = tuple(
        BandwidthPoint(
            threads=threads, working_set_bytes=size, bytes_per_second=median(rates[threads, size])
        )
        for threads, size in sorted(rates)
    )
    widths = [width(line.low, line.bytes_per_second, line.high) for line in found.bandwidth]
    return Bandwidth(source="measured", estimated=False, spread=spread_of(widths), points=points)


def threading_from(
    found: Measurements, clusters: Sequence[Cluster], bytes_per_weight: Mapping[str, float]
) -> Threading:
    """What threads cost; `bytes_per_weight` of the kernels that were measured."""
    from_memory = [line for line in found.kernels if line.where == "memory"]
    from_memory = [line for line in from_memory if line.name in bytes_per_weight]
    alone = [line for line in from_memory if line.threads == 1]
    threads = max((line.threads for line in from_memory), default=1)
    together = [line for line in from_memory if line.threads == threads > 1]
    reading = {
        (line.name, line.threads): 1e9
        * bytes_per_weight[line.name]
        / bandwidth_of(found, line.threads, line.bytes)
        for line in from_memory
    }
    overlap = overlap_of(alone, clusters, reading)
    best = efficiency_of(together, clusters, reading, overlap)
    counts = sorted({1, threads, *(line.threads for line in found.dispatch)})
    lost = (1 - best) / max(threads - 1, 1)  # by each thread beyond the first
    widths = [width(line.low, line.ns_per_weight, line.high) for line in together]
    return Threading(
        source="measured",
        estimated=False,
        spread=spread_of(widths),
        overlap=overlap,
        dispatch=tuple(
            Dispatch(
                threads=count,
                ns=dispatch_ns(found, count),
                efficiency=max(LEAST_EFFICIENCY, 1 - lost * (count - 1)),
            )
            for count in counts
        ),
    )


def bandwidth_of(found: Measurements, threads: int, size: float) -> float:
    """Bytes a second of so many threads and bytes, or of the nearest numbers that were measured."""
    counts = {line.threads for line in found.bandwidth}
    count = min(counts, key=lambda each: abs(math.log(each / threads)))
    lines = [line for line in found.bandwidth if line.threads == count]
    nearest = min(lines, key=lambda line: abs(math.log(line.bytes / max(size, 1))))
    return nearest.bytes_per_second


def dispatch_ns(found: Measurements, threads: int) -> float:
    """ns to share a loop, from the line for as many threads or fewer; 0 without one."""
    lines = [line for line in found.dispatch if line.threads <= threads]
    most = max((line.threads for line in lines), default=0)
    times = [line.ns for line in lines if line.threads == most]
    return min(median(times), LONGEST_NS) if times else 0.0


def computing_of(name: str, clusters: Sequence[Cluster], threads: int) -> float:
    """ns for a weight on the first so many cores, each as fast as on its own."""
    speed, left = 0.0, threads
    for cluster in clusters:
        used = min(cluster.count, left)
        speed += used / cluster.costs.kernels[name].generate_ns
        left -= used
    return 1 / speed


def overlap_of(
    lines: Sequence[Kernel], clusters: Sequence[Cluster], reading: Mapping[tuple[str, int], float]
) -> float:
    """The share that hides, by one thread's products: the median, each as heavy as the share of
    its time that could hide. 1 when there are none."""
    shares, weights = [], []
    for line in lines:
        read = reading[line.name, 1]
        compute = computing_of(line.name, clusters, 1)
        shorter = min(read, compute)
        shares.append((read + compute - line.ns_per_weight) / shorter)
        weights.append(shorter / line.ns_per_weight)
    return min(max(weighted_median(shares, weights), 0.0), 1.0) if shares else 1.0


def efficiency_of(
    lines: Sequence[Kernel],
    clusters: Sequence[Cluster],
    reading: Mapping[tuple[str, int], float],
    overlap: float,
) -> float:
    """The share of their speed that all threads keep, by products that compute longer than they
    read: the median. 1 when there are none, for then no computing is seen."""
    shares = []
    for line in lines:
        read = reading[line.name, line.threads]
        computing = line.ns_per_weight - (1 - overlap) * read
        if computing >= read:
            shares.append(computing_of(line.name, clusters, line.threads) / computing)
    return min(max(median(shares), LEAST_EFFICIENCY), 1.0) if shares else 1.0


def weighted_median(values: Sequence[float], weights: Sequence[float]) -> float:
    """The value that has half of the weight on either side."""
    half, passed = sum(weights) / 2, 0.0
    ordered = sorted(zip(values, weights, strict=True))
    for value, weight in ordered:
        passed += weight
        if passed >= half:
            return value
    return ordered[-1][0]
