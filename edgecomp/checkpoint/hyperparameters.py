"""A model's hyper-parameters as container keys: what a runtime needs to build the network."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from edgecomp.checkpoint.safetensors_file import CheckpointError
from exporters.bundle import MetadataValue

__all__ = ["context_length", "hyperparameters"]

# Key under edgecomp.model. (llama.cpp's names) -> the names that configs use for it, first match.
NAMES: dict[str, tuple[str, ...]] = {
    "context_length": ("max_position_embeddings", "n_positions", "n_ctx"),
    "embedding_length": ("hidden_size", "n_embd", "d_model"),
    "block_count": ("num_hidden_layers", "n_layer", "num_layers"),
    "feed_forward_length": ("intermediate_size", "n_inner", "d_ff"),
    "attention.head_count": ("num_attention_heads", "n_head", "num_heads"),
    "attention.head_count_kv": ("num_key_value_heads",),
    "attention.key_length": ("head_dim",),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon"),
    "rope.freq_base": ("rope_theta",),
    "vocab_size": ("vocab_size",),
}


def hyperparameters(config: Mapping[str, object]) -> dict[str, MetadataValue]:
    """The keys below `edgecomp.model.` for a config.json: architecture, config, and numbers.

    `config` is the whole config as compact JSON with sorted keys, so that any architecture can be
    built again; the numbers are those of `NAMES` that the config has, under llama.cpp's names.
    Raises CheckpointError for a number among them that is not finite.
    """
    keys: dict[str, MetadataValue] = {
        "architecture": str(config.get("model_type", "unknown")),
        "config": json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
    }
    rope = config.get("rope_parameters")
    searched = [config, rope] if isinstance(rope, dict) else [config]
    for key, names in NAMES.items():
        for name in names:
            values = [place[name] for place in searched if is_number(place.get(name))]
            if values and isinstance(values[0], int | float):
                keys[key] = number(key, name, values[0])
                break
    return keys


def number(key: str, name: str, value: int | float) -> int | float:
    """The value of the config's field `name` in the type that its key has."""
    is_float = "epsilon" in key or key.startswith("rope.")
    try:
        converted = float(value) if is_float else int(value)
        finite = math.isfinite(converted)
    except (OverflowError, ValueError):
        finite = False
    if not finite:
        raise CheckpointError(
            f"config.json: {name} is {value!r:.20}, expected a finite number", "correct config.json"
        )
    return converted


def context_length(config: Mapping[str, object]) -> int | None:
    """The longest input in tokens that the config names, or None."""
    value = hyperparameters(config).get("context_length")
    return value if isinstance(value, int) else None


def is_number(value: object) -> bool:
    """Whether a config value is a number (bool is not)."""
    return isinstance(value, int | float) and not isinstance(value, bool)
