"""What was measured from memory comes out of the cost model again; laps become one figure each."""

from __future__ import annotations

import pytest

from devices.cost import Machine
from devices.work import Product
from edgecomp.measuring.laps import merged
from edgecomp.measuring.lines import gather, read_line
from edgecomp.measuring.profile_from import About, profile_from
from tests.edgecomp.measuring import recorded as known
from tests.edgecomp.measuring.recorded import recorded, recorded_lines

ABOUT = About("Board", "board", "", "2026-11-23")
FOUND = gather(map(read_line, recorded_lines()))
PROFILE = profile_from(FOUND, ABOUT, known.WIDTHS)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("name", list(known.KERNELS))
def test_the_model_says_what_was_measured(name: str, threads: int) -> None:
    """Of a working set as large as the measured one, reading and computing together."""
    (line,) = (
        line for line in FOUND.kernels
        if (line.where, line.name, line.threads) == ("memory", name, threads)
    )  # fmt: skip
    weights = 1e8
    matrix = Product("w", name, weights, int(weights * known.WIDTHS[name]))
    machine = Machine(PROFILE, threads)
    largest = max(point.working_set_bytes for point in PROFILE.bandwidth.points)
    total = machine.loop([matrix], 1, largest).total - machine.dispatch
    assert total / weights == pytest.approx(line.ns_per_weight, rel=1e-6)


def test_without_lines_from_memory() -> None:
    lines = [line for line in recorded() if line.get("where") != "memory"]
    profile = profile_from(gather(map(read_line, recorded_lines(lines))), ABOUT, known.WIDTHS)
    costs = profile.clusters[0].costs.kernels
    assert all(cost.memory_factor is None for cost in costs.values())


def test_laps_become_one_figure() -> None:
    """The median of three; low and high are the least and the largest of them."""
    first, end = recorded()[:-1], recorded()[-1]
    laps = [
        {**line, "ns_per_weight": float(str(line["ns_per_weight"])) * factor}
        for factor in (1.0, 1.5, 1.1)
        for line in first
        if line["kind"] == "kernel"
    ]
    others = [line for line in first if line["kind"] != "kernel"]
    found = merged(gather(map(read_line, recorded_lines([*others, *laps, end]))))
    assert len(found.kernels) == len(FOUND.kernels)
    for line, once in zip(found.kernels, FOUND.kernels, strict=True):
        assert line.ns_per_weight == pytest.approx(1.1 * once.ns_per_weight)
        assert (line.low, line.high) == pytest.approx(
            (once.ns_per_weight, 1.5 * once.ns_per_weight)
        )
    assert found.clocks == FOUND.clocks
    assert found.steps == FOUND.steps


def test_one_lap_stays_as_it_is() -> None:
    assert merged(FOUND) == FOUND
