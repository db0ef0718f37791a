"""What kernels cost when their weights come from memory, from the lines about that."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from devices.profile import Cluster, KernelCost
from edgecomp.measuring.lines import Kernel, Measurements

__all__ = ["with_memory"]

FACTORS = (0.5, 100.0)  # that a profile takes
LEAST_EFFICIENCY = 0.01


def with_memory(clusters: Sequence[Cluster], found: Measurements) -> tuple[Cluster, ...]:
    """The clusters, the first one's kernels with `memory_factor` and `memory_efficiency`.

    Products from memory were made by the first core alone, and by all cores together.
    """
    lines = [line for line in found.kernels if line.where == "memory" and line.tokens == 1]
    alone = {line.name: line for line in lines if line.threads == 1}
    together = {line.name: line for line in lines if line.threads > 1}
    first = clusters[0]
    kernels = {
        name: from_memory(cost, clusters, name, (alone.get(name), together.get(name)))
        for name, cost in first.costs.kernels.items()
    }
    costs = replace(first.costs, kernels=kernels)
    return replace(first, costs=costs), *clusters[1:]


def from_memory(
    cost: KernelCost,
    clusters: Sequence[Cluster],
    name: str,
    lines: tuple[Kernel | None, Kernel | None],
) -> KernelCost:
    """The cost with what the lines of one thread and of all say."""
    alone, together = lines
    if alone is None:
        return cost
    factor = min(max(alone.ns_per_weight / cost.generate_ns, FACTORS[0]), FACTORS[1])
    if together is None:
        return replace(cost, memory_factor=factor)
    speed, left = 0.0, together.threads
    for cluster in clusters:
        used = min(cluster.count, left)
        speed += used / (cluster.costs.kernels[name].generate_ns * factor)
        left -= used
    efficiency = min(1.0, max(LEAST_EFFICIENCY, 1 / (together.ns_per_weight * speed)))
    return replace(cost, memory_factor=factor, memory_efficiency=efficiency)
