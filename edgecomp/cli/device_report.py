"""Profiles in brief: a line each, and side by side; as tables and as JSON objects."""

from __future__ import annotations

from collections.abc import Mapping

from devices.profile import Cluster, Figure, Profile
from edgecomp.cli.report import print_table

__all__ = [
    "USUAL_KERNELS",
    "compared_object",
    "listed_object",
    "origin",
    "print_compared",
    "print_listed",
]

GB, GIB, MIB = 1e9, 2.0**30, 2.0**20
# Kernels of what `edgecomp compress` makes where little is said; the others are in --json.
USUAL_KERNELS = (
    "raw-f16",
    "uniform-8",
    "uniform-4",
    "trellis-k4-d1-l12-t256",
    "trellis-k3-d1-l12-t256-fold",
    "trellis-k2-d1-l12-t256-fold",
    "trellis-k1-d1-l12-t256-fold",
    "winding-d2-linear-bits",
    "crvq-table",
)


def memory_bandwidth(profile: Profile, threads: int) -> float:
    """Bytes a second of the largest working set, with the most threads up to so many."""
    points = [point for point in profile.bandwidth.points if point.threads <= threads]
    return max(points, key=lambda p: (p.threads, p.working_set_bytes)).bytes_per_second


def all_cores_ns(profile: Profile, kernel: str) -> float | None:
    """ns for a weight with all cores at it; None where a cluster's cost is not known."""
    speed = 0.0
    for cluster in profile.clusters:
        if (cost := cluster.costs.kernels.get(kernel)) is None:
            return None
        speed += cluster.count / cost.generate_ns
    return 1 / (speed * profile.threading.dispatch[-1].efficiency)


def origin(profile: Profile) -> str:
    """How the figures of a profile came about, in a few words."""
    return f"measured {profile.measured.date}" if profile.measured else "estimated"


def listed_object(device: str, profile: Profile) -> dict[str, object]:
    """A packaged profile in brief, as JSON fields."""
    return {
        "id": device,
        "name": profile.name,
        "aliases": list(profile.aliases),
        "kind": profile.kind,
        "chip": profile.chip,
        "released": profile.released,
        "cores": profile.cores,
        "memory_bytes": profile.memory.total_bytes.value,
        "usable_bytes": profile.usable_bytes,
        "bytes_per_second": memory_bandwidth(profile, profile.cores),
        "instruction_sets": list(profile.clusters[0].instruction_sets),
        "estimated": profile.measured is None,
        "measured": profile.measured.date if profile.measured else None,
    }


def print_listed(profiles: Mapping[str, Profile]) -> None:
    """A table of profiles, and how to see more."""
    rows = []
    for device, profile in profiles.items():
        rate = memory_bandwidth(profile, profile.cores) / GB
        rows.append(
            (
                device,
                profile.name,
                profile.chip,
                str(profile.cores),
                f"{profile.memory.total_bytes.value / GIB:.3g}",
                f"{'' if profile.measured else '~'}{rate:.3g}",
                instructions(profile.clusters[0]),
                str(profile.released or ""),
            )
        )
    columns = ("device", "name", "chip", "cores", "GB", "GB/s", "SIMD", "year")
    print_table(columns, rows, left=3)
    if any(profile.measured is None for profile in profiles.values()):
        print("\n~ estimated; `edgecomp devices show DEVICE` says from what, `edgecomp measure` "
              "measures yours")  # fmt: skip


def instructions(cluster: Cluster) -> str:
    """The best instruction set, without its family where it has a name of its own."""
    return cluster.instruction_sets[-1].removeprefix("neon_")


def compared_rows(profile: Profile) -> dict[str, float | None]:
    """The figures of a profile that a comparison shows."""
    memory = profile.memory
    peak, cache = memory.peak_bytes_per_second, memory.last_level_cache_bytes
    return {
        "cores": float(profile.cores),
        "fastest core, GHz": profile.clusters[0].clock_hz.value / GB,
        "memory, GB": memory.total_bytes.value / GIB,
        "for an application, GB": profile.usable_bytes / GIB,
        "memory interface, GB/s": scaled(peak, GB),
        "read by one thread, GB/s": memory_bandwidth(profile, 1) / GB,
        "read by all threads, GB/s": memory_bandwidth(profile, profile.cores) / GB,
        "last level cache, MiB": scaled(cache, MIB),
    }


def scaled(figure: Figure | None, unit: float) -> float | None:
    """The figure in a unit; None without one."""
    return None if figure is None else figure.value / unit


def kernel_rows(profiles: Mapping[str, Profile]) -> dict[str, list[float]]:
    """The ns for a weight, all cores at it, of each kernel that all profiles have."""
    first = next(iter(profiles.values()))
    rows: dict[str, list[float]] = {}
    for kernel in first.clusters[0].costs.kernels:
        costs = [all_cores_ns(profile, kernel) for profile in profiles.values()]
        known = [cost for cost in costs if cost is not None]
        if len(known) == len(profiles):
            rows[kernel] = known
    return rows


def compared_object(profiles: Mapping[str, Profile]) -> list[dict[str, object]]:
    """Devices side by side as JSON; ratios are to the first device's figure."""
    figures = [compared_rows(profile) for profile in profiles.values()]
    kernels = kernel_rows(profiles)
    objects: list[dict[str, object]] = []
    for i, (device, profile) in enumerate(profiles.items()):
        own = figures[i] | {f"{name}, ns": costs[i] for name, costs in kernels.items()}
        base = figures[0] | {f"{name}, ns": costs[0] for name, costs in kernels.items()}
        objects.append(
            {
                "device": device,
                "name": profile.name,
                "chip": profile.chip,
                "released": profile.released,
                "instruction_sets": list(profile.clusters[0].instruction_sets),
                "figures": own,
                "ratios": {name: ratio(value, base[name]) for name, value in own.items()},
            }
        )
    return objects


def ratio(value: float | None, base: float | None) -> float | None:
    """How many times the base; None where one is not known."""
    return None if value is None or base is None else value / base


def print_compared(profiles: Mapping[str, Profile]) -> None:
    """Devices side by side; behind each figure, how many times the first device's."""
    figures = [compared_rows(profile) for profile in profiles.values()]
    rows = [[name, *cells([each[name] for each in figures])] for name in figures[0]]
    rows.append(["instruction set", *(instructions(p.clusters[0]) for p in profiles.values())])
    rows.append(["year", *(str(p.released or "-") for p in profiles.values())])
    kernels = kernel_rows(profiles)
    rows += [[f"{name}, ns", *cells(kernels[name])] for name in USUAL_KERNELS if name in kernels]
    rows.append(["figures", *(origin(profile) for profile in profiles.values())])
    print_table(("", *profiles), rows)
    if set(USUAL_KERNELS) & set(kernels):
        print("\nns: for a weight of one token, from caches, all cores at it")


def cells(values: list[float | None] | list[float]) -> list[str]:
    """The text of a row's figures."""
    texts = []
    for i, value in enumerate(values):
        times = ratio(value, values[0])
        text = "-" if value is None else f"{value:.3g}"
        texts.append(text if i == 0 or times is None else f"{text} ({times:.2g}x)")
    return texts
