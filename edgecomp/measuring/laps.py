"""One figure of several: the program measures everything more than once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from statistics import median
from typing import Any, TypeVar

from msgspec.structs import replace

from edgecomp.measuring.lines import Attention, Bandwidth, Dispatch, Kernel, Measurements, Step

__all__ = ["merged"]

Timed = TypeVar("Timed", Attention, Bandwidth, Dispatch, Kernel, Step)


def merged(found: Measurements) -> Measurements:
    """The measurement with a line for each thing: the median of its lines.

    Where there are several, `low` and `high` become the least and the largest of them: what the
    figure itself differs by, rather than rounds.
    """
    return Measurements(
        found.machine,
        found.clocks,
        one_each(found.bandwidth, lambda line: (line.threads, line.bytes), "bytes_per_second"),
        one_each(found.dispatch, lambda line: line.threads, "ns"),
        one_each(
            found.kernels,
            lambda line: (line.name, line.core, line.threads, line.tokens, line.where),
            "ns_per_weight",
        ),
        one_each(found.steps, lambda line: (line.name, line.core), "ns"),
        one_each(
            found.attention,
            lambda line: (line.core, line.kv, line.d_head, line.group, line.positions),
            "ns_per_position",
        ),
        found.seconds,
    )


def one_each(
    lines: Sequence[Timed], key: Callable[[Timed], Hashable], field: str
) -> tuple[Timed, ...]:
    """The lines of each key as one, in the order of the first ones."""
    groups: dict[Hashable, list[Timed]] = {}
    for line in lines:
        groups.setdefault(key(line), []).append(line)
    return tuple(one(group, field) for group in groups.values())


def one(lines: Sequence[Timed], field: str) -> Timed:
    """The median line of a thing."""
    if len(lines) == 1:
        return lines[0]
    values = [float(getattr(line, field)) for line in lines]
    figures: dict[str, Any] = {field: median(values), "low": min(values), "high": max(values)}
    return replace(lines[0], **figures)
