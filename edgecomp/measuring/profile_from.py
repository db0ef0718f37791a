"""A profile from a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Literal

from devices.profile import (
    INSTRUCTION_SETS,
    Cluster,
    Figure,
    Measured,
    Memory,
    Profile,
    ProfileError,
    Source,
    check_profile,
)
from edgecomp.measuring.core_names import core_name
from edgecomp.measuring.costs_from import core_costs, incomplete
from edgecomp.measuring.drift import drift_of
from edgecomp.measuring.errors import MeasureError
from edgecomp.measuring.laps import merged
from edgecomp.measuring.lines import Core, Machine, Measurements
from edgecomp.measuring.memory_from import with_memory
from edgecomp.measuring.threads_from import bandwidth_from, threading_from

__all__ = ["About", "profile_from"]

SHARES = (0.05, 1.0)  # of memory, that a profile takes


@dataclass(frozen=True)
class About:
    """What a measurement cannot say of a device."""

    name: str
    kind: Literal["board", "phone", "laptop", "desktop", "server"]
    chip: str  # "": named by its cores
    date: str  # YYYY-MM-DD


def profile_from(
    found: Measurements, about: About, bytes_per_weight: Mapping[str, float]
) -> Profile:
    """The profile; `bytes_per_weight` of each kernel's matrix. MeasureError for what is missing
    or cannot be."""
    found = merged(found)
    clusters = clusters_from(found)
    drift = drift_of(found.clocks)
    chip = about.chip or found.machine.cpu
    parts = " + ".join(f"{cluster.count} x {cluster.core}" for cluster in clusters)
    source = f"edgecomp-run {found.machine.version} measure, on the device"
    profile = Profile(
        format=1,
        name=about.name,
        kind=about.kind,
        chip=chip or parts,
        memory=memory_from(found.machine),
        clusters=with_memory(clusters, found),
        bandwidth=bandwidth_from(found),
        threading=threading_from(found, clusters, bytes_per_weight),
        sources={"measured": Source(title=source, date=about.date)},
        measured=Measured(
            date=about.date,
            version=found.machine.version,
            seconds=found.seconds,
            clock_drift=drift.clock_drift,
            temperature_start=drift.temperature_start,
            temperature_end=drift.temperature_end,
            notes=(drift.warning,) if drift.warning else (),
        ),
    )
    try:
        check_profile(profile)
    except ProfileError as error:
        hint = "measure again, with nothing else running there"
        raise MeasureError(f"the figures cannot be: {error}", hint) from error
    return profile


def measured(value: float) -> Figure:
    """A figure that the device gave."""
    return Figure(value=value, source="measured", estimated=False)


def known(value: float) -> Figure | None:
    """A figure that may be unknown, 0."""
    return measured(value) if value > 0 else None


def kind_of_core(core: Core) -> tuple[str, float, int, int]:
    """What is the same for cores of a cluster."""
    return core.part, core.top_hz, core.l1d_bytes, core.l2_bytes


def clusters_from(found: Measurements) -> tuple[Cluster, ...]:
    """Cores of a kind together, in the machine's order; costs are those of the first of them."""
    machine = found.machine
    sets = tuple(name for name in machine.instruction_sets if name in INSTRUCTION_SETS)
    clusters = []
    kinds = dict.fromkeys(map(kind_of_core, machine.cores))
    for kind in kinds:
        cores = [core for core in machine.cores if kind_of_core(core) == kind]
        clocks = [clock.hz for clock in found.clocks if clock.core == cores[0].id]
        clock = median(clocks) if clocks else cores[0].top_hz
        if clock <= 0:
            raise incomplete(f"clock of core {cores[0].id}")
        clusters.append(
            Cluster(
                core=core_name(cores[0].part, machine.cpu, machine.architecture)[:200] or "core",
                count=len(cores),
                clock_hz=measured(clock),
                instruction_sets=sets,
                l1d_bytes=known(cores[0].l1d_bytes),
                l2_bytes=known(cores[0].l2_bytes),
                costs=core_costs(found, cores[0].id),
            )
        )
    return tuple(clusters)


def memory_from(machine: Machine) -> Memory:
    """Memory, and the share of it that was free. MeasureError when the system does not say."""
    if not machine.memory_bytes:
        raise incomplete("size of the memory")
    share = machine.available_bytes / machine.memory_bytes
    return Memory(
        total_bytes=measured(machine.memory_bytes),
        usable_share=measured(min(max(share, SHARES[0]), SHARES[1])),
        last_level_cache_bytes=known(machine.last_level_cache_bytes),
    )
