"""What a device is, as the cost model reads it: a profile, and the checks that it must pass.

Every figure says where it is from and whether it is estimated. A `spread` is relative: the true
figure lies within value * (1 - spread) .. value / (1 - spread) nine times of ten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = [
    "INSTRUCTION_SETS",
    "STEPS",
    "BandwidthPoint",
    "Cluster",
    "Costs",
    "Dispatch",
    "Figure",
    "KernelCost",
    "Measured",
    "Memory",
    "Profile",
    "ProfileError",
    "Source",
    "Threading",
    "check_profile",
]

# Instruction sets that there are kernels for, as runtime_ops names them.
INSTRUCTION_SETS = (
    "scalar", "avx2", "avx512", "neon", "neon_dotprod", "neon_i8mm", "neon_armv7",
)  # fmt: skip
# What a model does beside products, each with its cost in ns on one core, and of what.
STEPS = {
    "norm": "number of a root mean square norm",
    "rope": "number that is rotated by its position",
    "swiglu": "number of gate and up that is brought together",
    "quantise": "activation that becomes int8",
    "rotate": "activation that is rotated by a Hadamard matrix of 1,024",
    "store_f16": "key or value that is stored as float16",
    "store_int8": "key or value that is stored as int8",
    "load_f16": "key or value that is read from float16",
    "load_int8": "key or value that is read from int8",
    "attend": "product of a query's with a key's number, or of a weight with a value's",
    "softmax": "score that softmax turns into a weight",
}

Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(gt=0, le=1)]
Spread = Annotated[float, Meta(ge=0, le=0.9)]
Count = Annotated[int, Meta(ge=1, le=256)]
Text = Annotated[str, Meta(min_length=1, max_length=400)]
# Limits beyond which a figure is a mistake of unit, whatever the device.
Hertz = Annotated[float, Meta(ge=1e8, le=1e10)]
KernelNs = Annotated[float, Meta(ge=1e-4, le=1e4)]  # for a weight


class ProfileError(ValueError):
    """A profile that cannot be used, or that is not there; `hint` says what may help."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where figures are from."""

    title: Text
    url: str = ""
    date: str = ""  # when it was read or measured, YYYY-MM-DD


class Figure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One number, in the unit that its name ends with."""

    value: Positive
    source: Text  # a key of the profile's sources
    estimated: bool
    spread: Spread = 0.0


class KernelCost(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kernel on one core, in ns, everything in the core's caches.

    A product with one token takes `generate_ns` for each weight; with n tokens, up to 128,
    `decode_ns + n * multiply_ns`. Of a kernel that was measured with weights from memory too,
    `memory_factor` is how many times `generate_ns` one core then takes, all its reading in it, and
    `memory_efficiency` what is left of the speed of all cores when they do it together.
    """

    generate_ns: KernelNs
    decode_ns: Annotated[float, Meta(ge=0, le=1e4)]
    multiply_ns: KernelNs
    memory_factor: Annotated[float, Meta(ge=0.5, le=100)] | None = None
    memory_efficiency: Share | None = None


class Costs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one core of a cluster takes for each kernel and each of STEPS."""

    source: Text
    estimated: bool
    spread: Spread
    kernels: dict[str, KernelCost]
    steps: dict[str, KernelNs]


class Cluster(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cores of one kind, the fastest cluster first in a profile."""

    core: Text  # such as Cortex-A76
    count: Count
    clock_hz: Figure
    instruction_sets: tuple[str, ...]
    l1d_bytes: Figure | None = None  # of a core
    l2_bytes: Figure | None = None  # of a core, or of the cluster where cores share it
    costs: Costs


class Memory(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Memory, and the share of it that one application can use."""

    total_bytes: Figure
    usable_share: Figure
    peak_bytes_per_second: Figure | None = None  # of the interface, as published
    last_level_cache_bytes: Figure | None = None  # that all cores share


class BandwidthPoint(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What threads read together of so many bytes, over and over."""

    threads: Count
    working_set_bytes: Positive
    bytes_per_second: Annotated[float, Meta(ge=1e7, le=1e14)]


class Bandwidth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast weights can be read, by threads and by how many bytes there are to read."""

    source: Text
    estimated: bool
    spread: Spread
    points: Annotated[tuple[BandwidthPoint, ...], Meta(min_length=1)]


class Dispatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many threads: what sharing a loop among them costs, and how fast they are together."""

    threads: Count
    ns: Annotated[float, Meta(ge=0, le=1e7)]  # to start a loop and to wait for its last thread
    efficiency: Share  # of what the cores would do each on its own


class Threading(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What threads cost. `overlap`: the share of reading or computing, whichever is shorter, that
    hides behind the other, with kernels that were not measured from memory; 1 would be
    max(reading, computing), 0 their sum."""

    source: Text
    estimated: bool
    spread: Spread
    overlap: Annotated[float, Meta(ge=0, le=1)]
    dispatch: Annotated[tuple[Dispatch, ...], Meta(min_length=1)]


class Measured(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the figures of a measured profile came about."""

    date: Text  # YYYY-MM-DD
    version: Text  # of edgecomp-run
    seconds: Positive  # that it took
    clock_drift: Annotated[float, Meta(ge=0)]  # (fastest - slowest) / fastest, while it ran
    temperature_start: float | None = None  # degrees Celsius, where the system says it
    temperature_end: float | None = None
    notes: tuple[str, ...] = ()  # throttling and whatever else makes the figures worse


class Profile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device. The first name is what it is called, aliases are what people type."""

    format: Literal[1]
    name: Text
    aliases: tuple[str, ...] = ()
    kind: Literal["board", "phone", "laptop", "desktop", "server"]
    chip: Text
    released: Annotated[int, Meta(ge=2005, le=2100)] | None = None
    notes: tuple[str, ...] = ()
    memory: Memory
    clusters: Annotated[tuple[Cluster, ...], Meta(min_length=1)]
    bandwidth: Bandwidth
    threading: Threading
    sources: dict[str, Source]
    measured: Measured | None = None

    @property
    def cores(self) -> int:
        """Cores of all clusters."""
        return sum(cluster.count for cluster in self.clusters)

    @property
    def usable_bytes(self) -> float:
        """Bytes of memory that one application can use."""
        return self.memory.total_bytes.value * self.memory.usable_share.value


def check_profile(profile: Profile) -> None:
    """ProfileError for what the types let pass: figures that contradict each other."""
    for message in problems(profile):
        raise ProfileError(f"{profile.name}: {message}", "docs/devices.md says what each field is")


def problems(profile: Profile) -> Iterator[str]:
    """Every contradiction, the first that matters first."""
    for key in sorted(set(used_sources(profile)) - set(profile.sources)):
        yield f"source {key!r} is not among [sources]"
    yield from memory_problems(profile.memory)
    for i, cluster in enumerate(profile.clusters):
        yield from (f"clusters[{i}]: {problem}" for problem in cluster_problems(cluster))
    yield from bandwidth_problems(profile)
    threads = [entry.threads for entry in profile.threading.dispatch]
    if threads[0] != 1 or threads != sorted(set(threads)):
        yield f"threading.dispatch is for {threads} threads, expected 1 and then more and more"


def used_sources(profile: Profile) -> Iterator[str]:
    """The sources that figures name."""
    figures: list[Figure | None] = [
        profile.memory.total_bytes,
        profile.memory.usable_share,
        profile.memory.peak_bytes_per_second,
        profile.memory.last_level_cache_bytes,
    ]
    for cluster in profile.clusters:
        figures += [cluster.clock_hz, cluster.l1d_bytes, cluster.l2_bytes]
        yield cluster.costs.source
    yield from (figure.source for figure in figures if figure is not None)
    yield profile.bandwidth.source
    yield profile.threading.source


def memory_problems(memory: Memory) -> Iterator[str]:
    if not 1 << 24 <= memory.total_bytes.value <= 1 << 44:
        yield f"memory.total_bytes is {memory.total_bytes.value:g}, expected 16 MiB to 16 TiB"
    if not 0.05 <= memory.usable_share.value <= 1:
        yield f"memory.usable_share is {memory.usable_share.value:g}, expected 0.05 to 1"


def cluster_problems(cluster: Cluster) -> Iterator[str]:
    clock = cluster.clock_hz.value
    if not 1e8 <= clock <= 1e10:
        yield f"clock_hz is {clock:g}, expected 1e8 to 1e10"
    unknown = [name for name in cluster.instruction_sets if name not in INSTRUCTION_SETS]
    if unknown or not cluster.instruction_sets:
        yield f"instruction_sets are {unknown or '[]'}, expected some of {INSTRUCTION_SETS}"
    if missing := [name for name in STEPS if name not in cluster.costs.steps]:
        yield f"costs.steps has no {', '.join(missing)}"
    if unknown := [name for name in cluster.costs.steps if name not in STEPS]:
        yield f"costs.steps has {unknown[0]!r}, which is no step"
    if not cluster.costs.kernels:
        yield "costs.kernels is empty"
    for name, cost in cluster.costs.kernels.items():
        cycles = cost.generate_ns * clock / 1e9
        if not 0.005 <= cycles <= 2000:
            yield f"costs.kernels.{name}: {cycles:.3g} cycles a weight, expected 0.005 to 2000"


def bandwidth_problems(profile: Profile) -> Iterator[str]:
    """Memory faster than its interface, or threads beyond the cores."""
    peak = profile.memory.peak_bytes_per_second
    points = profile.bandwidth.points
    if points[0].threads != 1:
        yield f"bandwidth.points start with {points[0].threads} threads, expected 1"
    if too_many := [p.threads for p in points if p.threads > profile.cores]:
        yield f"bandwidth.points has {too_many[0]} threads, the device {profile.cores} cores"
    sizes = [point.working_set_bytes for point in points]
    if len(set(by_threads(points))) != len(points):
        yield "bandwidth.points has two for the same threads and working set"
    largest = [point for point in points if point.working_set_bytes == max(sizes)]
    for point in largest if peak is not None else ():
        if peak is not None and point.bytes_per_second > 1.05 * peak.value:
            yield (
                f"bandwidth is {point.bytes_per_second / 1e9:.1f} GB/s from memory with "
                f"{point.threads} threads, above the interface's {peak.value / 1e9:.1f} GB/s"
            )


def by_threads(points: Iterable[BandwidthPoint]) -> list[tuple[int, float]]:
    """Threads and working set of each point."""
    return [(point.threads, point.working_set_bytes) for point in points]
