"""How long pieces of work take on a device: kernels on its cores, bytes from its memory.

time = max(reading, computing) + (1 - overlap) * min(reading, computing), and what sharing a loop
among threads costs; nothing overlaps where several tokens share what is decoded. Reading is bytes
over what so many threads read of a working set of that size; computing is weights times the
kernel's cost, over the cores that do it. With `overlap` 1 this is the roofline model (Williams,
Waterman, Patterson 2009).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from devices.profile import Cluster, KernelCost, Profile, ProfileError
from devices.work import Product

__all__ = ["Machine", "Skew", "Times"]

KERNEL_BYTES = 1 << 17  # of the matrices that kernels are measured with in the caches
BATCH = 128  # tokens that the runner evaluates together, at most


@dataclass(frozen=True)
class Skew:
    """Factors that say how much worse than in the profile something is; 1: as it says."""

    costs: float = 1.0
    bandwidth: float = 1.0
    threading: float = 1.0


@dataclass(frozen=True)
class Times:
    """Of a loop, in ns: what reading and computing take alone, and both with all else."""

    reading: float
    computing: float
    total: float


@dataclass(frozen=True)
class Machine:
    """A profile with so many threads, on its fastest cores."""

    profile: Profile
    threads: int
    skew: Skew = Skew()

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= self.profile.cores:
            raise ProfileError(
                f"{self.threads} threads, {self.profile.name} has {self.profile.cores} cores",
                f"ask for 1 to {self.profile.cores} threads",
            )

    def skewed(self, skew: Skew) -> Machine:
        """The same, worse."""
        return replace(self, skew=skew)

    @property
    def cores(self) -> list[tuple[Cluster, int]]:
        """The clusters in use, with the number of their cores that are."""
        left, used = self.threads, []
        for cluster in self.profile.clusters:
            if left > 0:
                used.append((cluster, min(left, cluster.count)))
            left -= cluster.count
        return used

    def step(self, name: str) -> float:
        """ns for a number of a step on the fastest core."""
        return self.profile.clusters[0].costs.steps[name] * self.skew.costs

    def shared_step(self, name: str, threads: float = math.inf) -> float:
        """ns for a number of a step that as many threads share."""
        steps = ((cluster.costs.steps[name], count) for cluster, count in self.cores)
        return self.together(steps, threads)

    def kernel(self, product: Product, tokens: int, working_set: float = 0.0) -> float:
        """ns for a weight of a product with so many tokens, all threads at it.

        One token's weights come from where the working set is: the share of it that is in memory
        takes what the kernel took from there, where that was measured.
        """
        costs = [(cost_of(cluster, product.kernel, tokens), n) for cluster, n in self.cores]
        measured = kernel_cost(self.profile.clusters[0], product.kernel)
        factor, efficiency = measured.memory_factor, measured.memory_efficiency
        if tokens > 1 or factor is None:
            return self.together(costs)
        far = self.memory_share(working_set)
        alone = [(cost * (1 + far * (factor - 1)), n) for cost, n in costs]
        if efficiency is None:
            return self.together(alone)
        lost = (1 - efficiency) * (self.threads - 1) / max(1, self.profile.cores - 1)
        cached = self.efficiency(self.threads)
        return self.together(alone) * cached / (far * (1 - lost) + (1 - far) * cached)

    def memory_share(self, working_set: float) -> float:
        """The share of a working set that comes from memory: 0 in the caches, 1 far beyond them.

        By what one thread reads of it, in seconds for a byte.
        """
        points = [point for point in self.profile.bandwidth.points if point.threads == 1]
        largest = max(point.working_set_bytes for point in points)
        own, near, far = (
            1 / self.bandwidth(size, 1) for size in (max(working_set, 1), KERNEL_BYTES, largest)
        )
        return min(1.0, max(0.0, (own - near) / (far - near))) if far > near else 1.0

    def together(self, costs: Iterable[tuple[float, int]], threads: float = math.inf) -> float:
        """The cost when cores of these costs share the work, the first ones where there are few."""
        speed, used = 0.0, 0.0
        for cost, count in costs:
            n = min(count, threads - used)
            if n > 0:
                speed += n / cost
                used += n
        return self.skew.costs / (speed * self.efficiency(used))

    def efficiency(self, threads: float) -> float:
        """Of what the cores would do each on its own."""
        table = [(entry.threads, entry.efficiency) for entry in self.profile.threading.dispatch]
        return interpolated(table, threads)

    @property
    def dispatch(self) -> float:
        """ns to share a loop."""
        table = [(entry.threads, entry.ns) for entry in self.profile.threading.dispatch]
        return interpolated(table, self.threads) * self.skew.threading

    @property
    def overlap(self) -> float:
        """The share of the shorter of reading and computing that hides behind the longer."""
        missing = (1 - self.profile.threading.overlap) * self.skew.threading
        return max(0.0, 1 - missing)

    def bandwidth(self, working_set: float, threads: float = math.inf) -> float:
        """Bytes a second of so many bytes that are read over and over."""
        points = self.profile.bandwidth.points
        rates = []
        for count in sorted({point.threads for point in points}):
            curve = [
                (math.log(point.working_set_bytes), math.log(point.bytes_per_second))
                for point in sorted(points, key=lambda point: point.working_set_bytes)
                if point.threads == count
            ]
            rates.append((count, math.exp(interpolated(curve, math.log(working_set)))))
        return interpolated(rates, min(threads, self.threads)) / self.skew.bandwidth

    def loop(self, products: Sequence[Product], tokens: int, working_set: float) -> Times:
        """The products of a loop with so many tokens."""
        computing = sum(
            product.weights * self.kernel(product, tokens, working_set) for product in products
        )
        n_bytes = sum(product.n_bytes for product in products)
        reading = 1e9 * n_bytes / self.bandwidth(max(working_set, 1))
        first = self.profile.clusters[0]
        whole = tokens == 1 and all(
            kernel_cost(first, product.kernel).memory_factor is not None for product in products
        )
        if tokens > 1:  # a panel of weights is decoded, then multiplied with all tokens
            return self.both(reading, computing, 0.0)
        return self.both(reading, computing, 1.0 if whole else self.overlap)

    def both(self, reading: float, computing: float, overlap: float | None = None) -> Times:
        """Reading and computing at the same time, in one loop."""
        shorter, longer = sorted((reading, computing))
        hidden = self.overlap if overlap is None else overlap
        total = longer + (1 - hidden) * shorter + self.dispatch
        return Times(reading, computing, total)


def cost_of(cluster: Cluster, kernel: str, tokens: int) -> float:
    """ns for a weight of a kernel with so many tokens on one core; ProfileError without it."""
    cost = kernel_cost(cluster, kernel)
    if tokens == 1:
        return cost.generate_ns
    whole, left = divmod(tokens, BATCH)
    batches = whole + (left > 0)
    return batches * cost.decode_ns + tokens * cost.multiply_ns


def kernel_cost(cluster: Cluster, kernel: str) -> KernelCost:
    """The costs of a kernel; ProfileError for one that the profile does not have."""
    cost = cluster.costs.kernels.get(kernel)
    if cost is None:
        raise ProfileError(
            f"the profile has no cost of the kernel {kernel} on {cluster.core}",
            "measure the device with this version: edgecomp measure",
        )
    return cost


def interpolated(table: Sequence[tuple[float, float]], x: float) -> float:
    """The value at x of a function that is linear between the points, constant beyond them."""
    if x <= table[0][0]:
        return table[0][1]
    for (left, low), (right, high) in itertools.pairwise(table):
        if x <= right:
            return low + (high - low) * (x - left) / (right - left)
    return table[-1][1]
