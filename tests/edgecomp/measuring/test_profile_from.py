"""A profile from a measurement whose costs are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from devices.profile import STEPS
from devices.profile_file import read_profile, write_profile
from edgecomp.measuring.core_names import core_name
from edgecomp.measuring.costs_from import attention_costs, kernel_cost, not_negative, spread_of
from edgecomp.measuring.drift import drift_of
from edgecomp.measuring.errors import MeasureError
from edgecomp.measuring.lines import Attention, Clock, gather, read_line
from edgecomp.measuring.profile_from import About, profile_from
from edgecomp.measuring.threads_from import weighted_median
from tests.edgecomp.measuring import recorded as known
from tests.edgecomp.measuring.recorded import recorded, recorded_lines

ABOUT = About("Board", "board", "", "2026-11-23")


def profile_of(lines: list[dict[str, object]]) -> object:
    return profile_from(gather(map(read_line, recorded_lines(lines))), ABOUT, known.WIDTHS)


PROFILE = profile_from(gather(map(read_line, recorded_lines())), ABOUT, known.WIDTHS)


def test_clusters() -> None:
    big, little = PROFILE.clusters
    assert (big.core, big.count) == ("Cortex-A76", 2)
    assert (little.core, little.count) == ("Cortex-A55", 2)
    assert big.clock_hz.value == pytest.approx(2.375e9)
    assert little.clock_hz.value == 1.8e9
    assert big.instruction_sets == ("scalar", "neon", "neon_dotprod")
    assert big.l2_bytes is not None
    assert big.l2_bytes.value == 524288
    assert PROFILE.chip == "2 x Cortex-A76 + 2 x Cortex-A55"


@pytest.mark.parametrize(("which", "slower"), [(0, 1.0), (1, known.SLOWER)])
def test_costs(which: int, slower: float) -> None:
    costs = PROFILE.clusters[which].costs
    assert set(costs.steps) == set(STEPS)
    for name, ns in known.STEP_NS.items():
        assert costs.steps[name] == pytest.approx(slower * ns, rel=1e-6), name
    assert set(costs.kernels) == set(known.KERNELS)
    for name, cost in known.KERNELS.items():
        found = costs.kernels[name]
        assert found.generate_ns == pytest.approx(slower * cost.generate_ns)
        assert found.decode_ns == pytest.approx(slower * cost.decode_ns)
        assert found.multiply_ns == pytest.approx(slower * cost.multiply_ns)
    assert costs.spread == pytest.approx(known.SPREAD)
    assert not costs.estimated


def test_bandwidth_and_threads() -> None:
    points = {point.threads: point.bytes_per_second for point in PROFILE.bandwidth.points}
    assert points == known.RATES
    assert PROFILE.threading.overlap == pytest.approx(known.OVERLAP)
    dispatch = {entry.threads: entry for entry in PROFILE.threading.dispatch}
    assert [dispatch[n].ns for n in (1, 2, 4)] == [0, 3000, 5000]
    efficiencies = [dispatch[n].efficiency for n in (1, 2, 4)]
    assert efficiencies == pytest.approx([1, 1 - 0.2 / 3, known.EFFICIENCY])


def test_the_rest_and_that_it_can_be_kept(tmp_path: Path) -> None:
    assert PROFILE.memory.total_bytes.value == 4 << 30
    assert PROFILE.memory.usable_share.value == 0.75
    assert PROFILE.sources["measured"].date == "2026-11-23"
    measured = PROFILE.measured
    assert measured is not None
    assert measured.seconds == 40.5
    assert measured.clock_drift == pytest.approx(0.05 / 2.4)
    assert (measured.temperature_start, measured.temperature_end) == (51, 61)
    assert measured.notes == ()
    write_profile(PROFILE, tmp_path / "board.toml")
    assert read_profile(tmp_path / "board.toml") == PROFILE


def test_throttling_is_said() -> None:
    profile = profile_from(
        gather(map(read_line, recorded_lines(recorded(1.848e9, 84.0)))), ABOUT, known.WIDTHS
    )
    assert profile.measured is not None
    assert profile.measured.notes == (
        "the device slowed down by 23% while it was measured (74 -> 84 degrees): "
        "cool it or let it rest, then measure again",
    )


def test_clocks_that_rise_are_no_throttling() -> None:
    clocks = [Clock(seconds=i, core=0, hz=hz) for i, hz in enumerate((1.5e9, 2.4e9, 2.3e9))]
    drift = drift_of(clocks)
    assert drift.warning == ""
    assert drift.clock_drift == pytest.approx(1 - 1.5 / 2.4)
    slower = drift_of([*clocks, Clock(seconds=9, core=0, hz=2e9)])
    assert "by 17%" in slower.warning
    assert "degrees" not in slower.warning


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ({"kind": "step", "name": "rope"}, "step rope on core 2"),
        ({"kind": "attention", "kv": "int8"}, "step load_f16"),
        ({"kind": "attention", "group": 4}, "step load_f16"),
        ({"kind": "kernel", "name": "uniform-4", "tokens": 16}, "uniform-4 with 16 tokens"),
        ({"kind": "kernel", "where": "cache"}, "kernel on core 2"),
        ({"kind": "bandwidth"}, "bandwidth of one thread"),
    ],
)
def test_what_is_missing_is_named(missing: dict[str, object], message: str) -> None:
    lines = [line for line in recorded() if not missing.items() <= line.items()]
    assert len(lines) < len(recorded())
    with pytest.raises(MeasureError, match=message):
        profile_of(lines)


def test_a_device_without_clocks_or_memory_is_refused() -> None:
    lines = [line for line in recorded() if line["kind"] != "clock"]
    assert profile_of(lines) is not None  # the system's own figure
    lines = [json.loads(json.dumps(line).replace('"top_hz": 2400000000.0', '"top_hz": 0'))
             for line in lines]  # fmt: skip
    with pytest.raises(MeasureError, match="clock of core 2"):
        profile_of(lines)
    with pytest.raises(MeasureError, match="size of the memory"):
        profile_of([recorded()[0] | {"memory_bytes": 0}, *recorded()[1:]])


def test_absurd_figures_are_refused() -> None:
    lines = [line | ({"hz": 1e6} if line["kind"] == "clock" else {}) for line in recorded()]
    with pytest.raises(MeasureError, match="clock_hz"):
        profile_of(lines)


def test_one_thread_on_one_core() -> None:
    """A board with one core: no dispatch, no efficiency, and nothing that fails."""
    machine = recorded()[0]
    cores = machine["cores"]
    assert isinstance(cores, list)
    lines = [machine | {"cores": cores[:1]}]
    lines += [
        line
        for line in recorded()[1:]
        if line.get("threads", 1) == 1 and line.get("core", 2) in (0, 2)
        and not (line["kind"] in ("step", "attention") and line["core"] == 0)
    ]  # fmt: skip
    profile = profile_from(gather(map(read_line, recorded_lines(lines))), ABOUT, known.WIDTHS)
    assert [(entry.threads, entry.ns) for entry in profile.threading.dispatch] == [(1, 0)]
    assert profile.threading.overlap == pytest.approx(known.OVERLAP)


def test_kernel_lines_that_do_not_rise() -> None:
    cost = kernel_cost(1.0, 2.0, 1.0)
    assert cost.decode_ns == 0
    assert cost.multiply_ns == pytest.approx(1 / 128)
    below = kernel_cost(1.0, 1.0, 16.0)
    assert below.decode_ns == 0
    assert below.multiply_ns == pytest.approx(16 / 128)
    assert kernel_cost(1e-9, 1e-9, 1e-9).generate_ns == 1e-4


def test_attention_that_no_costs_explain() -> None:
    """Times that would need a negative cost: what is left explains them as well as it can."""
    lines = [
        Attention(core=0, kv=kv, d_head=d, group=g, positions=9, ns_per_position=ns, low=ns,
                  high=ns)
        for kv, d, g, ns in (
            ("f16", 64, 1, 100.0), ("f16", 64, 4, 100.0), ("f16", 128, 4, 200.0),
            ("int8", 64, 1, 90.0),
        )
    ]  # fmt: skip
    costs = attention_costs(lines)
    assert costs["load_f16"] == pytest.approx(100 / 128)
    assert costs["softmax"] == costs["attend"] == 1e-4
    assert attention_costs(lines[:1]) == {}


def test_least_squares_without_negative_numbers() -> None:
    """Beside the definition: no step along any unknown makes it better."""
    rng = np.random.default_rng(1)
    for _ in range(30):
        matrix, right = rng.standard_normal((6, 4)), rng.standard_normal(6)
        found = not_negative(matrix, right)
        gradient = matrix.T @ (matrix @ found - right)
        assert (found >= 0).all()
        assert (gradient[found == 0] >= -1e-9).all()
        assert np.abs(gradient[found > 0]).max(initial=0) < 1e-9


def test_small_things() -> None:
    assert spread_of([]) == 0.03
    assert spread_of([0.01] * 9 + [0.5]) < 0.1
    assert spread_of([7.0]) == 0.9
    assert weighted_median([3.0, 1.0, 2.0], [1.0, 1.0, 5.0]) == 2
    assert core_name("0x41:0xd0b", "", "aarch64") == "Cortex-A76"
    assert core_name("0x41:0xFFF", "", "aarch64") == "core (0x41:0xFFF)"
    assert core_name("", "AMD EPYC", "x86_64") == "AMD EPYC"
    assert core_name("", "", "armv7l") == "armv7l"
