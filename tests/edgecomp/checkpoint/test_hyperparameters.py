"""Hyper-parameters as container keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecomp.checkpoint import CheckpointError
from edgecomp.checkpoint.hyperparameters import context_length, hyperparameters


def test_keys_of_the_shipped_model(bookworm: Path) -> None:
    config = json.loads((bookworm / "config.json").read_text())
    keys = hyperparameters(config)
    text = keys.pop("config")
    assert isinstance(text, str)
    assert json.loads(text) == config
    assert text == json.dumps(config, sort_keys=True, separators=(",", ":"))
    assert keys == {
        "architecture": "llama",
        "context_length": 512,
        "embedding_length": 256,
        "block_count": 6,
        "feed_forward_length": 768,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 64,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 10000.0,
        "vocab_size": 8192,
    }


def test_older_names_and_integers_for_floats() -> None:
    keys = hyperparameters({"model_type": "gpt2", "n_embd": 8, "n_ctx": 32, "rope_theta": 500000})
    assert keys["embedding_length"] == 8
    assert keys["context_length"] == 32
    assert isinstance(keys["rope.freq_base"], float)
    assert context_length({"n_positions": 64}) == 64


LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"rope_scaling": LLAMA3},
            {
                "rope.scaling.type": "llama3",
                "rope.scaling.factor": 8.0,
                "rope.scaling.low_freq_factor": 1.0,
                "rope.scaling.high_freq_factor": 4.0,
                "rope.scaling.original_context_length": 8192,
            },
        ),
        (
            {"rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 2}},
            {
                "rope.freq_base": 5e5,
                "rope.scaling.type": "linear",
                "rope.scaling.factor": 2.0,
            },
        ),
        ({"rope_scaling": {"type": "dynamic"}}, {"rope.scaling.type": "dynamic"}),
        ({"rope_scaling": None, "rope_parameters": {"rope_type": "default"}}, {}),
        ({"hidden_act": "silu", "rope_interleaved": False}, {}),
        ({"rope_interleaved": True}, {"rope.interleaved": True}),
        ({"hidden_act": "gelu"}, {"feed_forward.activation": "gelu"}),
        ({"sliding_window": 4096}, {"attention.sliding_window": 4096}),
        ({"sliding_window": 4096, "use_sliding_window": False}, {}),
        ({"partial_rotary_factor": 1.0, "head_dim": 64}, {}),
        ({"partial_rotary_factor": 0.5, "head_dim": 64}, {"rope.dimension_count": 32}),
    ],
)
def test_what_is_not_as_usual(config: dict[str, object], expected: dict[str, object]) -> None:
    keys = hyperparameters(config)
    del keys["architecture"], keys["config"]
    expected = expected | ({"attention.key_length": 64} if "head_dim" in config else {})
    assert keys == expected
    assert all(type(keys[name]) is type(value) for name, value in expected.items())


def test_odd_configs_give_only_what_they_have() -> None:
    config = {"vocab_size": None, "hidden_size": True, "rope_parameters": [1], "n_layer": "six"}
    assert set(hyperparameters(config)) == {"architecture", "config"}
    assert context_length({}) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rope_theta", "Infinity"),
        ("rope_theta", "1e999"),
        ("rope_theta", "1" + "0" * 400),
        ("max_position_embeddings", "NaN"),
        ("num_hidden_layers", "-Infinity"),
        ("vocab_size", "1" + "0" * 400),
    ],
)
def test_numbers_that_are_not_finite(name: str, text: str) -> None:
    config = json.loads(f'{{"{name}": {text}}}')
    with pytest.raises(CheckpointError, match=f"{name} is .*, expected a finite number") as caught:
        hyperparameters(config)
    assert len(str(caught.value)) < 100
    assert caught.value.hint
    unused = json.loads(f'{{"time_step_limit": [0.0, {text}]}}')
    assert set(hyperparameters(unused)) == {"architecture", "config"}
