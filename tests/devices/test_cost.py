"""The cost model's pieces, against figures worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from devices.cost import Machine, Skew
from devices.profile import KernelCost, ProfileError
from devices.work import Product
from tests.devices.small_profile import small_cluster, small_profile

BIG_LITTLE = small_profile((small_cluster(1), small_cluster(3, slower=4.0)))
MANY_BYTES = 1e8


def product(weights: float = 1e6, n_bytes: int = 500_000, kernel: str = "uniform-4") -> Product:
    return Product("w", kernel, weights, n_bytes)


def test_computing_is_shared_among_threads() -> None:
    for threads in (1, 2):
        times = Machine(small_profile(), threads).loop([product()], 1, MANY_BYTES)
        assert times.computing == pytest.approx(1e6 / threads)


def test_slow_cores_help_by_their_speed() -> None:
    """One core at 1 ns, then up to three at 4 ns: 1, 1.25, 1.5, 1.75 weights a ns."""
    for threads, speed in enumerate((1.0, 1.25, 1.5, 1.75), start=1):
        times = Machine(BIG_LITTLE, threads).loop([product()], 1, MANY_BYTES)
        assert times.computing == pytest.approx(1e6 / speed)


def test_the_longer_of_reading_and_computing() -> None:
    """With full overlap their maximum, without any their sum."""
    matrix = product(weights=1e5, n_bytes=1_000_000)  # 100 us computing, 1 ms reading
    for overlap, expected in ((1.0, 1e6), (0.0, 1.1e6), (0.5, 1.05e6)):
        times = Machine(small_profile(overlap=overlap), 1).loop([matrix], 1, MANY_BYTES)
        assert (times.reading, times.total) == pytest.approx((1e6, expected))


def test_small_working_sets_are_read_faster() -> None:
    machine = Machine(small_profile(), 1)
    assert machine.bandwidth(1e6) == pytest.approx(1e10)
    assert machine.bandwidth(1e3) == pytest.approx(1e10)
    assert machine.bandwidth(1e12) == pytest.approx(1e9)
    assert machine.bandwidth(1e7) == pytest.approx(10**9.5)


def test_several_tokens() -> None:
    """Up to 128 tokens share a decoding: 1 ns for a weight, then half a ns for each token."""
    machine = Machine(small_profile(), 1)
    for tokens, ns in ((1, 1.0), (2, 2.0), (128, 65.0), (129, 66.5), (256, 130.0)):
        assert machine.kernel(product(), tokens) == pytest.approx(ns)


def test_sharing_costs_a_dispatch() -> None:
    profile = small_profile(dispatch_ns=5000)
    alone, shared = (Machine(profile, n).loop([product()], 1, 1.0).total for n in (1, 2))
    assert (alone, shared) == pytest.approx((1e6, 0.5e6 + 5000))


def test_costs_that_were_measured_from_memory() -> None:
    """Far beyond the caches they are as measured, reading in them; inside they are the cached ones.

    1 ns for a weight, 3 from memory, of which two cores keep 3/4 of their speed.
    """
    cluster = small_cluster(kernels=())
    own = KernelCost(
        generate_ns=1, decode_ns=1, multiply_ns=0.5, memory_factor=3, memory_efficiency=0.75
    )
    cluster = replace(cluster, costs=replace(cluster.costs, kernels={"uniform-4": own}))
    profile = small_profile((cluster,), overlap=0.0)
    for threads, size, ns in ((1, 1e8, 3.0), (2, 1e8, 2.0), (1, 1e5, 1.0), (2, 1e5, 0.5)):
        machine = Machine(profile, threads)
        assert machine.kernel(product(), 1, size) == pytest.approx(ns)
        assert machine.loop([product()], 1, size).total == pytest.approx(1e6 * ns)
    assert Machine(profile, 1).kernel(product(), 128, 1e8) == pytest.approx(65)
    middle = Machine(profile, 1).kernel(product(), 1, 1e7)
    assert 1 < middle < 3


@pytest.mark.parametrize("threads", [0, -1, 3])
def test_threads_that_there_are_not(threads: int) -> None:
    with pytest.raises(ProfileError, match=f"{threads} threads, Small board has 2 cores"):
        Machine(small_profile(), threads)


def test_a_kernel_without_a_cost() -> None:
    with pytest.raises(ProfileError, match="no cost of the kernel unheard-of on Core 1"):
        Machine(small_profile(), 1).loop([product(kernel="unheard-of")], 1, 1.0)


@given(
    weights=st.floats(1, 1e12),
    n_bytes=st.integers(1, 10**12),
    tokens=st.integers(1, 600),
    worse=st.floats(1.01, 9),
    overlap=st.floats(0, 1),
)
def test_nothing_gets_faster_by_being_worse(
    weights: float, n_bytes: int, tokens: int, worse: float, overlap: float
) -> None:
    machine = Machine(small_profile(overlap=overlap, dispatch_ns=100), 2)
    matrix = [product(weights, n_bytes)]
    total = machine.loop(matrix, tokens, n_bytes).total
    for skew in (Skew(costs=worse), Skew(bandwidth=worse), Skew(threading=worse)):
        assert machine.skewed(skew).loop(matrix, tokens, n_bytes).total >= total
    assert total >= max(machine.loop(matrix, tokens, n_bytes).reading, 0)
