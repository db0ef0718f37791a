"""What edgecomp-run measure prints, one JSON object in a line, and the whole of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from edgecomp.measuring.errors import MeasureError

__all__ = [
    "Attention", "Bandwidth", "Clock", "Core", "Dispatch", "End", "Kernel", "Line", "Machine",
    "Measurements", "Step", "gather", "read_line",
]  # fmt: skip

Positive = Annotated[float, Meta(ge=1e-9, le=1e15)]
NotNegative = Annotated[float, Meta(ge=0, le=1e15)]
Size = Annotated[int, Meta(ge=0, lt=1 << 60)]
Threads = Annotated[int, Meta(ge=1, le=256)]
CoreId = Annotated[int, Meta(ge=0, lt=1 << 16)]
Text = Annotated[str, Meta(max_length=200)]


class Core(Struct, frozen=True):
    """A core that the program may use; what is unknown is "" or 0."""

    id: CoreId
    part: Text = ""  # Arm: implementer and part, such as 0x41:0xd0b
    top_hz: NotNegative = 0
    l1d_bytes: Size = 0
    l2_bytes: Size = 0


class Machine(Struct, frozen=True, tag="machine", tag_field="kind"):
    """What the device is; cores as the program pins threads to them, the fastest first."""

    version: Text
    architecture: Text
    instruction_set: Text
    instruction_sets: tuple[Text, ...]
    memory_bytes: Size
    available_bytes: Size
    cores: Annotated[tuple[Core, ...], Meta(min_length=1, max_length=256)]
    cpu: Text = ""
    last_level_cache_bytes: Size = 0


class Clock(Struct, frozen=True, tag="clock", tag_field="kind"):
    """How fast a core is at a moment, and how warm the warmest sensor."""

    seconds: NotNegative
    core: CoreId
    hz: Positive
    millidegrees: Annotated[float, Meta(ge=-1e6, le=1e6)] | None = None


class Bandwidth(Struct, frozen=True, tag="bandwidth", tag_field="kind"):
    """What threads read together."""

    threads: Threads
    bytes: Positive
    bytes_per_second: Positive
    low: Positive
    high: Positive


class Dispatch(Struct, frozen=True, tag="dispatch", tag_field="kind"):
    """What a loop of nothing takes."""

    threads: Threads
    ns: NotNegative
    low: NotNegative
    high: NotNegative


class Kernel(Struct, frozen=True, tag="kernel", tag_field="kind"):
    """A product; with several tokens the time is that of all of them."""

    name: Text
    core: CoreId
    threads: Threads
    tokens: Annotated[int, Meta(ge=1, le=4096)]
    where: Literal["cache", "memory"]
    bytes: NotNegative
    ns_per_weight: Positive
    low: Positive
    high: Positive


class Step(Struct, frozen=True, tag="step", tag_field="kind"):
    """A step of a model beside products and attention."""

    name: Text
    core: CoreId
    ns: Positive
    low: Positive
    high: Positive


class Attention(Struct, frozen=True, tag="attention", tag_field="kind"):
    """Attention of a token: for a position, a head of keys and the queries that share it."""

    core: CoreId
    kv: Literal["f16", "int8"]
    d_head: Annotated[int, Meta(ge=1, le=4096)]
    group: Annotated[int, Meta(ge=1, le=256)]
    positions: Annotated[int, Meta(ge=1)]
    ns_per_position: Positive
    low: Positive
    high: Positive


class End(Struct, frozen=True, tag="end", tag_field="kind"):
    """All has been measured."""

    seconds: Positive


Line = Machine | Clock | Bandwidth | Dispatch | Kernel | Step | Attention | End
DECODER: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


@dataclass(frozen=True)
class Measurements:
    """Every line of a measurement that came to its end."""

    machine: Machine
    clocks: tuple[Clock, ...]
    bandwidth: tuple[Bandwidth, ...]
    dispatch: tuple[Dispatch, ...]
    kernels: tuple[Kernel, ...]
    steps: tuple[Step, ...]
    attention: tuple[Attention, ...]
    seconds: float


def read_line(text: str) -> Line:
    """One line. MeasureError."""
    hint = "send the edgecomp-run of this version: leave --program out"
    try:
        return DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise MeasureError(
            f"the device's answer cannot be understood: {error}: {text[:80]!r}", hint
        ) from None


def gather(lines: Iterable[Line]) -> Measurements:
    """The lines by their kind. MeasureError where they do not begin and end as they should."""
    every = list(lines)
    machines = [line for line in every if isinstance(line, Machine)]
    ends = [line for line in every if isinstance(line, End)]
    hint = "measure again"
    if not every or every[:1] != machines:
        raise MeasureError("the measurement does not begin with the machine", hint)
    if every[-1:] != ends:
        raise MeasureError("the measurement broke off before its end", hint)
    return Measurements(
        machines[0],
        tuple(line for line in every if isinstance(line, Clock)),
        tuple(line for line in every if isinstance(line, Bandwidth)),
        tuple(line for line in every if isinstance(line, Dispatch)),
        tuple(line for line in every if isinstance(line, Kernel)),
        tuple(line for line in every if isinstance(line, Step)),
        tuple(line for line in every if isinstance(line, Attention)),
        ends[0].seconds,
    )
