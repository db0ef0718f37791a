"""Whether a device slowed down while it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgecomp.measuring.lines import Clock

__all__ = ["Drift", "drift_of"]

THROTTLED = 0.1  # a clock that falls by more is not noise


@dataclass(frozen=True)
class Drift:
    """Clocks and temperatures from the first to the last line."""

    clock_drift: float  # (fastest - slowest) / fastest of a core, the largest of all cores
    slowed_by: float  # by how much a core was slower than once before
    temperature_start: float | None  # degrees Celsius
    temperature_end: float | None

    @property
    def warning(self) -> str:
        """A line for who measured; "" when the device was steady."""
        if self.slowed_by <= THROTTLED:
            return ""
        text = f"the device slowed down by {self.slowed_by:.0%} while it was measured"
        if self.temperature_start is None or self.temperature_end is None:
            return f"{text}: cool it, end what else runs there, then measure again"
        degrees = f"{self.temperature_start:.0f} -> {self.temperature_end:.0f} degrees"
        return f"{text} ({degrees}): cool it or let it rest, then measure again"


def drift_of(clocks: Sequence[Clock]) -> Drift:
    """The drift over all lines, which are in the order of time."""
    drift = slowed = 0.0
    for core in {clock.core for clock in clocks}:
        own = [clock.hz for clock in clocks if clock.core == core]
        drift = max(drift, 1 - min(own) / max(own))
        fastest = 0.0
        for hz in own:
            fastest = max(fastest, hz)
            slowed = max(slowed, 1 - hz / fastest)
    degrees = [clock.millidegrees / 1000 for clock in clocks if clock.millidegrees is not None]
    first, last = (degrees[0], degrees[-1]) if degrees else (None, None)
    return Drift(drift, slowed, first, last)
