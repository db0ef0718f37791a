"""The C sampler against the numpy one, token for token."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime_ops.native_model import ModelError
from runtime_ops.native_tokenizer import NativeSampler
from runtime_ops.reference.sampling import ReferenceSampler, SamplerSettings

N_VOCAB = 500
DRAWS = 10_000
SETTINGS = (
    SamplerSettings(temperature=1.0, seed=1),
    SamplerSettings(temperature=0.7, top_k=40, top_p=0.95, min_p=0.05, seed=2),
    SamplerSettings(temperature=1.5, top_p=0.5, seed=3),
    SamplerSettings(temperature=1e-3, top_k=1, seed=4),
    SamplerSettings(temperature=3.0, min_p=0.3, seed=(1 << 64) - 1),
    SamplerSettings(temperature=0.9, top_k=N_VOCAB, top_p=0.0, seed=5),
    SamplerSettings(temperature=0.0, top_k=3, top_p=0.1, seed=6),
)


def native(settings: SamplerSettings, n_vocab: int = N_VOCAB) -> NativeSampler:
    return NativeSampler(n_vocab, **asdict(settings))


def random_logits(random: np.random.Generator, n: int) -> NDArray[np.float32]:
    """Logits with equals among them in every other row."""
    logits = random.normal(0, 3, (n, N_VOCAB)).astype(np.float32)
    logits[::2] = np.rint(logits[::2])
    return logits


@pytest.mark.parametrize("settings", SETTINGS, ids=range(len(SETTINGS)))
def test_same_tokens_as_the_reference(settings: SamplerSettings) -> None:
    random = np.random.default_rng(settings.seed)
    sampler, reference = native(settings), ReferenceSampler(settings)
    drawn = set()
    for logits in random_logits(random, DRAWS):
        token = sampler.next(logits)
        assert token == reference.next(logits)
        drawn.add(token)
    assert len(drawn) > 100


@pytest.mark.parametrize("settings", SETTINGS, ids=range(len(SETTINGS)))
def test_infinite_and_equal_logits(settings: SamplerSettings) -> None:
    sampler, reference = native(settings), ReferenceSampler(settings)
    infinite = np.float32(np.inf)
    for value in (0.0, -0.0, 1e30, -infinite, infinite):
        logits = np.full(N_VOCAB, value, np.float32)
        logits[7] = -infinite
        for _ in range(20):
            assert sampler.next(logits) == reference.next(logits) != 7
            assert logits[7] == -infinite
    mixed = np.zeros(N_VOCAB, np.float32)
    mixed[[5, 9]] = infinite
    assert sampler.next(mixed) == reference.next(mixed) == 5


def test_of_equals_the_lower_tokens_stay() -> None:
    logits = np.array([1, 2, 2, 2, 1, 2], np.float32)
    drawn = {
        name: {native(settings, 6).next(logits) for settings in varied}
        for name, varied in {
            "top_k": [SamplerSettings(1.0, top_k=2, seed=seed) for seed in range(50)],
            "top_p": [SamplerSettings(1.0, top_p=0.3, seed=seed) for seed in range(50)],
            "min_p": [SamplerSettings(1.0, min_p=0.9, seed=seed) for seed in range(50)],
            "temperature": [SamplerSettings(0.0, seed=seed) for seed in range(50)],
        }.items()
    }
    assert drawn == {
        "top_k": {1, 2}, "top_p": {1, 2}, "min_p": {1, 2, 3, 5}, "temperature": {1}
    }  # fmt: skip


def test_frequencies_are_the_probabilities() -> None:
    """Chi-squared with seven degrees of freedom: 40 is exceeded once in a million."""
    logits = np.log(np.arange(1, 9)).astype(np.float32)
    sampler = native(SamplerSettings(1.0, seed=11), 8)
    counts = np.bincount([sampler.next(logits) for _ in range(DRAWS)], minlength=8)
    expected = np.arange(1, 9) / 36 * DRAWS
    assert ((counts - expected) ** 2 / expected).sum() < 40


def test_known_draws() -> None:
    """The first numbers of SplitMix64 with seed 0, as its authors' C program prints them."""
    first = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)
    sampler = native(SamplerSettings(1.0, seed=0), 256)
    equal = np.zeros(256, np.float32)
    assert [sampler.next(equal) for _ in first] == [number >> 56 for number in first]


def test_large_vocabulary() -> None:
    random = np.random.default_rng(20)
    for settings in SETTINGS:
        large = replace(settings, top_k=min(settings.top_k, 40))
        sampler, reference = native(large, 131072), ReferenceSampler(large)
        for _ in range(5):
            logits = random.normal(0, 2, 131072).astype(np.float32)
            assert sampler.next(logits) == reference.next(logits)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("place", [0, 250, N_VOCAB - 1])
def test_nan_is_refused(temperature: float, place: int) -> None:
    settings = SamplerSettings(temperature, top_k=4)
    logits = np.zeros(N_VOCAB, np.float32)
    logits[place] = np.nan
    assert ReferenceSampler(settings).next(logits) is None
    with pytest.raises(ModelError, match="not numbers"):
        native(settings).next(logits)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (SamplerSettings(temperature=-1.0), "temperature"),
        (SamplerSettings(temperature=float("nan")), "temperature"),
        (SamplerSettings(temperature=float("inf")), "temperature"),
        (SamplerSettings(top_p=1.5), "top_p"),
        (SamplerSettings(top_p=float("nan")), "top_p"),
        (SamplerSettings(min_p=-0.1), "min_p"),
    ],
)
def test_settings_out_of_range(settings: SamplerSettings, name: str) -> None:
    with pytest.raises(ModelError, match=f"{name}: expected"):
        native(settings)


def test_wrong_sizes() -> None:
    with pytest.raises(ModelError, match="vocabulary"):
        native(SamplerSettings(), 0)
    with pytest.raises(ValueError, match="shape"):
        native(SamplerSettings()).next(np.zeros(N_VOCAB + 1, np.float32))
