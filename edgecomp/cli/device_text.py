"""A whole profile as text: every figure with its certainty and its source."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

import msgspec

from devices.profile import Bandwidth, Costs, Figure, Measured, Profile, Threading
from edgecomp.cli.device_report import USUAL_KERNELS, origin
from edgecomp.cli.report import print_table
from edgecomp.terminal import printable

__all__ = ["print_profile", "profile_object"]

WIDTH = 100
GB, GIB, MIB, KIB = 1e9, 2.0**30, 2.0**20, 2.0**10
Numbers = Mapping[str, str]  # of sources by their keys


def profile_object(profile: Profile) -> object:
    """Everything in a profile, as JSON fields."""
    return msgspec.to_builtins(profile, str_keys=True)


def print_profile(profile: Profile, every_kernel: bool) -> None:
    """Everything in a profile, at most WIDTH columns wide; costs of the usual kernels or of all."""
    numbers = {key: str(i + 1) for i, key in enumerate(profile.sources)}
    year = f", {profile.released}" if profile.released else ""
    print_wrapped(f"{profile.name}: {profile.kind} with {profile.chip}{year}; {origin(profile)}")
    if profile.aliases:
        print_wrapped(f"also: {', '.join(profile.aliases)}")
    print()
    print_table(
        ("figure", "value", "", "source"),
        (
            (name, value, certainty(profile, figure), f"[{numbers[figure.source]}]")
            for name, value, figure in figures(profile)
        ),
    )
    print_bandwidth(profile.bandwidth, numbers)
    print_threading(profile.threading, numbers)
    for cluster in profile.clusters:
        print_costs(cluster.core, cluster.costs, numbers, every_kernel)
    print_remarks(profile)
    print("\nsources")
    for key, source in profile.sources.items():
        print_wrapped(f"[{numbers[key]}] {source.title}", "    ")
        if source.url:
            print(
                f"    {printable(f'{source.url} ({source.date})' if source.date else source.url)}"
            )


def figures(profile: Profile) -> Iterator[tuple[str, str, Figure]]:
    """The name, the text and the figure of each single figure that a profile has."""
    memory = profile.memory
    yield "memory, GB", f"{memory.total_bytes.value / GIB:.3g}", memory.total_bytes
    yield "share for an application", f"{memory.usable_share.value:.2f}", memory.usable_share
    if (peak := memory.peak_bytes_per_second) is not None:
        yield "memory interface, GB/s", f"{peak.value / GB:.1f}", peak
    if (cache := memory.last_level_cache_bytes) is not None:
        yield "last level cache, MiB", f"{cache.value / MIB:.3g}", cache
    for cluster in profile.clusters:
        name = f"{cluster.count} x {cluster.core} ({', '.join(cluster.instruction_sets)})"
        yield f"{name}, GHz", f"{cluster.clock_hz.value / GB:.2f}", cluster.clock_hz
        if cluster.l1d_bytes is not None:
            yield (
                "  L1 data of a core, KiB",
                f"{cluster.l1d_bytes.value / KIB:.4g}",
                cluster.l1d_bytes,
            )
        if cluster.l2_bytes is not None:
            yield "  L2, KiB", f"{cluster.l2_bytes.value / KIB:.5g}", cluster.l2_bytes


def certainty(profile: Profile, figure: Figure) -> str:
    """Such as "estimated, +-20 %"."""
    known = "measured" if profile.measured else "published"
    kind = "estimated" if figure.estimated else known
    return f"{kind}, +-{100 * figure.spread:.0f} %" if figure.spread else kind


def print_bandwidth(bandwidth: Bandwidth, numbers: Numbers) -> None:
    """What threads read, GB/s, a line for each number of threads."""
    print(f"\nread by threads, GB/s of a working set ({about(bandwidth, numbers)})")
    threads = sorted({point.threads for point in bandwidth.points})
    for count in threads:
        points = sorted(
            (point.working_set_bytes, point.bytes_per_second)
            for point in bandwidth.points
            if point.threads == count
        )
        cells = (f"{size_text(size)}: {rate / GB:.3g}" for size, rate in points)
        print_wrapped(f"  threads {count:2}   {', '.join(cells)}", " " * 15)


def size_text(size: float) -> str:
    return f"{size / MIB:.3g} MiB" if size >= MIB else f"{size / KIB:.4g} KiB"


def about(part: Bandwidth | Costs | Threading, numbers: Numbers) -> str:
    """Certainty and source of a part."""
    kind = "estimated" if part.estimated else "measured"
    return f"{kind}, +-{100 * part.spread:.0f} % [{numbers[part.source]}]"


def print_threading(threading: Threading, numbers: Numbers) -> None:
    """What sharing a loop costs."""
    hidden = f"{100 * threading.overlap:.0f} % of reading hides behind computing"
    print()
    print_wrapped(f"sharing a loop ({about(threading, numbers)}); {hidden}")
    for entry in threading.dispatch:
        took = f"{entry.ns / 1e3:.3g} us to start and to wait"
        print(
            f"  threads {entry.threads:2}   {took}, {100 * entry.efficiency:.0f} % of their speed"
        )


def print_costs(core: str, costs: Costs, numbers: Numbers, every_kernel: bool) -> None:
    """The kernels and steps of a cluster, ns."""
    print()
    print_wrapped(f"ns for a weight on a {core} ({about(costs, numbers)})")
    usual = {name: costs.kernels[name] for name in USUAL_KERNELS if name in costs.kernels}
    shown = costs.kernels if every_kernel or not usual else usual
    print_table(
        ("kernel", "a token", "decoding", "a token of a batch"),
        (
            (f"  {name}", *(f"{ns:.4g}" for ns in (c.generate_ns, c.decode_ns, c.multiply_ns)))
            for name, c in shown.items()
        ),
    )
    if len(shown) < len(costs.kernels):
        print(f"  {len(costs.kernels) - len(shown)} more kernels: --kernels")
    steps = (f"{name} {ns:.3g}" for name, ns in costs.steps.items())
    print_wrapped(f"  steps, ns for a number: {', '.join(steps)}", "    ")


def print_remarks(profile: Profile) -> None:
    """Notes of the profile and of its measurement."""
    notes = [*profile.notes, *(measured_notes(profile.measured) if profile.measured else ())]
    if notes:
        print("\nnotes")
    for remark in notes:
        print_wrapped(f"- {remark}", "  ")


def measured_notes(measured: Measured) -> Iterator[str]:
    """How a measurement went."""
    yield (
        f"measured {measured.date} with edgecomp-run {measured.version} in "
        f"{measured.seconds:.0f} s; clocks drifted by {100 * measured.clock_drift:.1f} %"
    )
    if measured.temperature_start is not None and measured.temperature_end is not None:
        yield (
            f"{measured.temperature_start:.0f} degrees Celsius at its start, "
            f"{measured.temperature_end:.0f} at its end"
        )
    yield from measured.notes


def print_wrapped(text: str, indent: str = "") -> None:
    """A text in lines of WIDTH columns, all but the first one indented."""
    for line in textwrap.wrap(printable(text), WIDTH, subsequent_indent=indent):
        print(line)
