"""A profile of round figures, whose predictions can be worked out by hand."""

from __future__ import annotations

from devices.profile import (
    STEPS,
    Bandwidth,
    BandwidthPoint,
    Cluster,
    Costs,
    Dispatch,
    Figure,
    KernelCost,
    Memory,
    Profile,
    Source,
    Threading,
)

__all__ = ["figure", "kernel", "small_cluster", "small_profile"]

KERNELS = ("uniform-4", "uniform-8", "raw-f32", "trellis-k2-d1-l8-t64", "trellis-k2-d1-l8-t256")


def figure(value: float) -> Figure:
    return Figure(value=value, source="here", estimated=True)


def kernel(generate_ns: float = 1.0) -> KernelCost:
    """Prefill decodes at the same cost, and multiplies at half of it."""
    return KernelCost(generate_ns=generate_ns, decode_ns=generate_ns, multiply_ns=generate_ns / 2)


def small_cluster(
    count: int = 2, slower: float = 1.0, kernels: tuple[str, ...] = KERNELS, spread: float = 0.0
) -> Cluster:
    """Cores that take `slower` ns for a weight, and as much for a number of every step."""
    costs = Costs(
        source="here",
        estimated=True,
        spread=spread,
        kernels={name: kernel(slower) for name in kernels},
        steps=dict.fromkeys(STEPS, slower),
    )
    return Cluster(
        core=f"Core {slower:g}",
        count=count,
        clock_hz=figure(1e9),
        instruction_sets=("scalar", "neon"),
        costs=costs,
    )


def small_profile(
    clusters: tuple[Cluster, ...] = (small_cluster(),),
    overlap: float = 1.0,
    dispatch_ns: float = 0.0,
    spread: float = 0.0,
) -> Profile:
    """Memory of 1 GB/s for a thread and 2 GB/s for several, ten times as fast below 1 MB."""
    points = tuple(
        BandwidthPoint(threads=threads, working_set_bytes=size, bytes_per_second=rate * threads)
        for threads in (1, 2)
        for size, rate in ((1e6, 1e10), (1e8, 1e9))
    )
    dispatch = tuple(
        Dispatch(threads=threads, ns=0.0 if threads == 1 else dispatch_ns, efficiency=1.0)
        for threads in (1, 2)
    )
    return Profile(
        format=1,
        name="Small board",
        kind="board",
        chip="None",
        memory=Memory(total_bytes=figure(1e9), usable_share=figure(0.5)),
        clusters=clusters,
        bandwidth=Bandwidth(source="here", estimated=True, spread=spread, points=points),
        threading=Threading(
            source="here", estimated=True, spread=spread, overlap=overlap, dispatch=dispatch
        ),
        sources={"here": Source(title="made up")},
    )
