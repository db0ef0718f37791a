"""Predictions of whole models, against figures worked out by hand."""

from __future__ import annotations

import math

import pytest

from devices.latency import MODEL_SPREAD, predict_generate, predict_network, predict_prefill
from devices.memory import peak_resident
from devices.profile import ProfileError
from devices.work import Attention, LanguageModel, Layer, Loop, Network, Operation, Product
from tests.devices.small_profile import small_cluster, small_profile

HEADS = Attention(n_heads=4, n_kv_heads=2, d_head=16)


def loop(part: str, weights: float, quantised: int = 0, rotated: int = 0) -> Loop:
    product = Product(part, "uniform-4", weights, int(weights / 2))
    return Loop(part, (product,), quantised, rotated)


def small_model(n_layers: int = 2) -> LanguageModel:
    layer = Layer((loop("feed forward", 1e6, quantised=64, rotated=64),), head_norms=96)
    head = loop("head", 5e5)
    return LanguageModel("small", (layer,) * n_layers, HEADS, 64, 128, 1000, head, 2_000_000)


def test_generation_adds_everything_up() -> None:
    """A ns for each weight, number and multiplication; reading hides behind computing."""
    past = 99
    inputs = 64 + 64
    attention = 100 * (2 * 16 * 2 + 4 * (2 * 16 + 1))  # keys and values; scores and softmax
    steps = (2 * 64 + 96) + (4 + 2) * 16 + 2 * 2 * 16 + 128  # norms, rope, cache, swiglu
    layer = 1e6 + inputs + attention + steps
    found = predict_generate(small_model(), small_profile(), 1, past)
    assert found.ns == pytest.approx(2 * layer + 5e5 + 64)
    assert found.binds == "decode"
    assert sum(part.total for part in found.parts) == pytest.approx(found.ns)
    assert {part.place for part in found.parts} == {"layer 0", "layer 1", "head"}


def test_memory_binds_where_weights_are_many() -> None:
    fast = small_profile((small_cluster(slower=0.01),))
    found = predict_generate(small_model(100), fast, 1, 0)
    assert found.binds == "bandwidth"
    # 50 MB of layers: between 10 GB/s of 1 MB and 1 GB/s of 100 MB
    assert 5e6 < found.reading < 5.1e7


def test_prefill_decodes_once_for_a_batch() -> None:
    """Prefill of 300 tokens is three evaluations; only the last has logits."""
    profile = small_profile()
    found = predict_prefill(small_model(), profile, 1, 300)
    products = [part for part in found.parts if part.name == "feed forward"]
    expected = [1e6 * (1 + tokens / 2) for tokens in (128, 128, 44) for _ in range(2)]
    assert [part.computing for part in products] == pytest.approx(expected)
    assert len([part for part in found.parts if part.name == "head"]) == 1
    one = predict_prefill(small_model(), profile, 1, 1)
    assert one.ns == pytest.approx(predict_generate(small_model(), profile, 1, 0).ns)


def test_attention_of_a_prompt_is_quadratic() -> None:
    """Tokens of a batch share tiles of keys: 8 tokens, of 2 heads each."""
    found = predict_prefill(small_model(1), small_profile(), 1, 128)
    attention = next(part for part in found.parts if part.name == "attention")
    positions = 64.5
    loads = 2 * 16 * positions * (128 / 8) * 2
    queries = positions * 128 * 4 * (2 * 16 + 1)
    assert attention.computing == pytest.approx(loads + queries)


def test_more_threads_than_heads_do_not_help_attention() -> None:
    profile = small_profile((small_cluster(4),))
    times = [
        next(p for p in predict_generate(small_model(1), profile, threads, 500).parts
             if p.name == "attention").computing
        for threads in (1, 2, 4)
    ]  # fmt: skip
    assert times[0] == pytest.approx(2 * times[1])
    assert times[2] == pytest.approx(times[1])


def test_the_interval_follows_the_spreads() -> None:
    exact = predict_generate(small_model(), small_profile(), 2, 10)
    assert exact.high / exact.ns == pytest.approx(exact.ns / exact.low) == math.exp(MODEL_SPREAD)
    wide = small_profile((small_cluster(spread=0.4),), spread=0.1)
    found = predict_generate(small_model(), wide, 2, 10)
    assert found.ns == pytest.approx(exact.ns)
    assert found.high / found.ns > 1 / (1 - 0.4)
    assert found.low / found.ns < 0.6
    assert found.low > 0


def test_kernels_and_threads_that_there_are_not() -> None:
    lacking = small_profile((small_cluster(kernels=("raw-f32",)),))
    with pytest.raises(ProfileError, match="uniform-4"):
        predict_generate(small_model(), lacking, 1, 0)
    with pytest.raises(ProfileError, match="9 threads"):
        predict_prefill(small_model(), small_profile(), 9, 16)


def test_a_network_by_multiplications() -> None:
    """A linear that 10 tokens go through, and attention, which has no weights."""
    linear = Operation("linear", "uniform-8", 1e7, 1e6, 1_000_000)
    attention = Operation("attention", "", 5e5, 0.0, 0)
    net = Network("net", (linear, attention), 1_000_000, 4000)
    found = predict_network(net, small_profile(), 1, 1)
    reading = 1e5  # 1 MB at 10 GB/s, before it is multiplied
    assert found.ns == pytest.approx(1e6 * (1 + 10 / 2) + reading + 5e5)
    batch = predict_network(net, small_profile(), 1, 4)
    assert batch.ns == pytest.approx(1e6 * (1 + 40 / 2) + reading + 2e6)


def test_memory_is_the_file_the_cache_and_the_work() -> None:
    model = small_model()
    found = peak_resident(model, 512, 1)
    assert found.weights == 2_000_000
    assert found.kv == 2 * 512 * 2 * 2 * 16 * 2
    assert peak_resident(model, 512, 1, "int8").kv == 2 * 512 * 2 * 2 * (32 + 4)
    assert found.total == found.weights + found.kv + found.work + found.program
    assert peak_resident(model, 512, 4).work > found.work
    assert peak_resident(model, 1024, 1).kv == 2 * found.kv
