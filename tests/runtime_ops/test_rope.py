"""Frequencies of rotary positions beside those of transformers, and exponentials."""

from __future__ import annotations

import numpy as np
import pytest

from edgecomp.checkpoint import hyperparameters
from runtime_ops.reference.elementary import exp_f32
from runtime_ops.reference.llama import llama
from runtime_ops.reference.rope import angles, frequencies, magnitude, rotate_pairs

SCALINGS = (
    {"rope_type": "default"},
    {"rope_type": "linear", "factor": 3.0},
    {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 512,
    },
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512},
    {
        "rope_type": "yarn",
        "factor": 16.0,
        "original_max_position_embeddings": 128,
        "beta_fast": 20.0,
        "beta_slow": 2.0,
        "attention_factor": 1.25,
    },
)


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda s: s["rope_type"])
def test_frequencies_of_transformers(scaling: dict[str, object]) -> None:
    """The keys of a config give its network's frequencies, which transformers has in float32."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = LlamaConfig(
        hidden_size=256,
        num_attention_heads=4,
        head_dim=64,
        max_position_embeddings=2048,
        rope_parameters={"rope_theta": 20000.0, **scaling},
    )
    theirs = LlamaRotaryEmbedding(config)
    rope = llama(hyperparameters(config.to_dict()), lambda name: None).rope
    np.testing.assert_allclose(frequencies(rope, 64), theirs.inv_freq.numpy(), rtol=2e-6)
    assert magnitude(rope) == pytest.approx(theirs.attention_scaling, rel=1e-12)


def test_rotation_keeps_lengths_and_distances() -> None:
    """Products of heads depend on the distance of their positions alone, in both layouts."""
    rope = llama({"attention.head_count": 1, "context_length": 9}, lambda name: None).rope
    rng = np.random.default_rng(1)
    q, k = rng.normal(size=(2, 1, 16)).astype(np.float32)
    for interleaved in (False, True):
        products = [
            (
                rotate_pairs(q, angles(rope, 16, p + 5), interleaved)
                @ rotate_pairs(k, angles(rope, 16, p), interleaved).T
            ).item()
            for p in (0, 3, 40)
        ]
        assert products == pytest.approx([products[0]] * 3, abs=1e-4)
        assert abs(products[0] - (q @ k.T).item()) > 1e-2


def test_exponentials() -> None:
    """At most one unit in the last place off; limits, infinities and NaN."""
    x = np.linspace(-87, 88, 1_000_003, dtype=np.float32)
    exact = np.exp(x.astype(np.float64))
    assert (np.abs(exp_f32(x) - exact) <= np.spacing(exact.astype(np.float32))).all()
    inf = np.float32(np.inf)
    ends = np.array([0, -0.0, np.nextafter(np.float32(88), inf), inf, -87.5, -inf], np.float32)
    assert exp_f32(ends).tolist() == [1, 1, np.inf, np.inf, 0, 0]
    assert np.isnan(exp_f32(np.array([np.nan], np.float32))).all()
