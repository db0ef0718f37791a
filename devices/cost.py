"""How long pieces of work take on a device: kernels on its cores, bytes from its memory.

time = max(reading, computing) + (1 - overlap) * min(reading, computing), and what sharing a loop
among threads costs. Reading is bytes over what so many threads read of a working set of that size;
computing is weights times the kernel's cost, over the cores that do it. With `overlap` 1 this is
the roofline model (Williams, Waterman, Patterson 2009).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from devices.profile import Cluster, KernelCost, Profile, ProfileError
from devices.work import Product

__all__ = ["Machine", "Skew", "Times"]

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

    def kernel(self, product: Product, tokens: int) -> float:
        """ns for a weight of a product with so many tokens, all threads at it."""
        costs = ((cost_of(cluster, product.kernel, tokens), n) for cluster, n in self.cores)
        return self.together(costs)

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
        computing = sum(product.weights * self.kernel(product, tokens) for product in products)
        n_bytes = sum(product.n_bytes for product in products)
        return self.both(1e9 * n_bytes / self.bandwidth(max(working_set, 1)), computing)

    def both(self, reading: float, computing: float) -> Times:
        """Reading and computing at the same time, in one loop."""
        shorter, longer = sorted((reading, computing))
        total = longer + (1 - self.overlap) * shorter + self.dispatch
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
