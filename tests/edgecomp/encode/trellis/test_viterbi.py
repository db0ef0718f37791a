"""The C search: the cheapest path, codewords that stay, and the same bytes on any threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp.encode.trellis import viterbi
from edgecomp.encode.trellis.codes import code_for
from runtime_ops import reference
from tests.edgecomp.encode.trellis.jobs import CASES, LOOKED, Job, drawn_values, job_of, least_cost


@pytest.mark.parametrize(("bits", "state_bits"), CASES)
def test_one_walk_finds_the_cheapest_path(bits: float, state_bits: int) -> None:
    """Three tiles fit a walk: the cost is numpy's, but for the bits that costs give to names."""
    job = job_of(bits, state_bits, (16, 12))
    found = job.cost(job.run().values)
    least = least_cost(job)
    rounding = 192 * 2.0 ** (job.format.step_bits - 22)
    assert least * (1 - 1e-6) <= found <= least * (1 + rounding)


@pytest.mark.parametrize("strip_by_strip", [False, True])
@pytest.mark.parametrize(("bits", "state_bits"), LOOKED)
def test_looking_ahead_is_nearly_the_cheapest_path(
    bits: float, state_bits: int, strip_by_strip: bool
) -> None:
    """Walks that end in the middle of a band lose less than 1.5 % of the least error."""
    job = job_of(bits, state_bits, (16, 160))
    if strip_by_strip:
        job = replace(job, feedback=np.zeros((160, 160), np.float32))
    least = least_cost(job)
    most = 1.015 if strip_by_strip else 1.002
    assert least * (1 - 1e-6) <= job.cost(job.run().values) <= most * least


@pytest.mark.parametrize("strip_by_strip", [False, True])
@pytest.mark.parametrize(("bits", "state_bits"), CASES)
def test_a_codeword_is_a_fixed_point(bits: float, state_bits: int, strip_by_strip: bool) -> None:
    """What random bits decode to is encoded without an error, from a start state of its own."""
    fmt = code_for(bits, state_bits).format(0, 0)
    targets = drawn_values(fmt, (32, 80), seed=5)
    feedback = np.zeros((80, 80), np.float32) if strip_by_strip else None
    job = Job(fmt, targets, np.ones(32, np.float32), np.ones(80, np.float32), feedback).run()
    np.testing.assert_array_equal(job.values, targets)


@pytest.mark.parametrize(("bits", "state_bits"), CASES)
def test_codes_stand_for_the_values(bits: float, state_bits: int) -> None:
    """The reference decodes the codes to what the search says that they are, tails as well."""
    job = job_of(bits, state_bits, (48, 84)).run()
    fmt = code_for(bits, state_bits).format(0, 0)
    states = reference.trellis_states(fmt, {"codes": job.codes.reshape(-1)}, (48, 84))
    places = reference.trellis_places(fmt, states, (48, 84))
    np.testing.assert_array_equal(fmt.table.array[places], job.values)


@pytest.mark.parametrize("feedback", [False, True])
def test_threads_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch, feedback: bool) -> None:
    """1, 2, 3 and 4 threads for five bands, and more threads than bands."""
    job = job_of(2, 10, (80, 88), feedback)
    found = []
    for threads in (1, 2, 3, 4, 9):
        monkeypatch.setattr(viterbi, "usable_cores", lambda n=threads: n)
        found.append(job.run())
    for other in found[1:]:
        np.testing.assert_array_equal(other.codes, found[0].codes)
        np.testing.assert_array_equal(other.targets, found[0].targets)


@settings(max_examples=15, deadline=None)
@given(
    case=st.sampled_from(CASES),
    row=st.integers(0, 15),
    column=st.integers(0, 11),
    seed=st.integers(0, 1 << 16),
)
def test_what_counts_for_nothing_changes_nothing(
    case: tuple[float, int], row: int, column: int, seed: int
) -> None:
    """Whatever stands in a row or a column of weight 0, the codes are the same."""
    job = job_of(*case, (16, 12))
    job.row_weights[row] = 0
    job.column_weights[column] = 0
    expected = job.run().codes
    rng = np.random.default_rng(seed)
    job.targets[row] = 1e6 * rng.standard_normal(12)
    job.targets[:, column] = 1e6 * rng.standard_normal(16)
    np.testing.assert_array_equal(job.run().codes, expected)


@pytest.mark.parametrize("state_bits", [8, 10, 12])
def test_the_error_falls_with_the_bits(state_bits: int) -> None:
    """At least by half of a bit's worth from rate to rate."""
    rates = [bits for bits in (1, 1.5, 2, 3, 4) if 2 * bits <= state_bits]
    errors = [error_of(bits, state_bits) for bits in rates]
    for i in range(1, len(rates)):
        assert errors[i] < errors[i - 1] * 2.0 ** (rates[i - 1] - rates[i])
    assert all(error > 4.0**-bits for error, bits in zip(errors, rates, strict=True))


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_the_error_falls_with_the_states(bits: float) -> None:
    """From 256 states to 1,024 and 4,096."""
    errors = [error_of(bits, state_bits) for state_bits in (8, 10, 12)]
    assert errors[0] > errors[1] > errors[2] > 4.0**-bits


def error_of(bits: float, state_bits: int) -> float:
    """Mean square error over that of the targets, 32,768 of them."""
    code = code_for(bits, state_bits)
    targets = np.random.default_rng(3).standard_normal((32, 1024), np.float32)
    scaled = targets / np.float32(code.unit)
    ones = np.ones(1024, np.float32)
    values = Job(code.format(0, 0), scaled, ones[:32], ones).run().values
    return float(np.mean((scaled - values) ** 2) / np.mean(scaled**2))
