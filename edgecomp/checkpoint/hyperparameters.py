"""A model's hyper-parameters as container keys: what a runtime needs to build the network."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

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
# The same of the scaling of positions, within `rope_scaling` or `rope_parameters`.
SCALING: dict[str, tuple[str, ...]] = {
    "rope.scaling.factor": ("factor",),
    "rope.scaling.original_context_length": ("original_max_position_embeddings",),
    "rope.scaling.low_freq_factor": ("low_freq_factor",),
    "rope.scaling.high_freq_factor": ("high_freq_factor",),
    "rope.scaling.beta_fast": ("beta_fast",),
    "rope.scaling.beta_slow": ("beta_slow",),
    "rope.scaling.attention_factor": ("attention_factor",),
}


def hyperparameters(config: Mapping[str, object]) -> dict[str, MetadataValue]:
    """The keys below `edgecomp.model.` for a config.json: architecture, config, and numbers.

    `config` is the whole config as compact JSON with sorted keys, so that any architecture can be
    built again; the numbers are those of `NAMES` that the config has, under llama.cpp's names, and
    what a runtime must know where it is not as usual: the scaling of positions, the part of a head
    that they rotate, a window of attention, an activation other than SiLU.
    Raises CheckpointError for a number among them that is not finite.
    """
    keys: dict[str, MetadataValue] = {
        "architecture": str(config.get("model_type", "unknown")),
        "config": json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
    }
    rope = config.get("rope_parameters")
    searched = [config, rope] if isinstance(rope, dict) else [config]
    return keys | numbers(NAMES, searched) | scaling(config) | unusual(config)


def numbers(
    names: Mapping[str, tuple[str, ...]], searched: Sequence[Mapping[str, object]]
) -> dict[str, MetadataValue]:
    """The numbers that some part of a config has, by key; the first name and part count."""
    keys: dict[str, MetadataValue] = {}
    for key, aliases in names.items():
        for name in aliases:
            values = [place[name] for place in searched if is_number(place.get(name))]
            if values and isinstance(values[0], int | float):
                keys[key] = number(key, name, values[0])
                break
    return keys


def scaling(config: Mapping[str, object]) -> dict[str, MetadataValue]:
    """The scaling of positions, by its kind and numbers; nothing when there is none."""
    for place in (config.get("rope_scaling"), config.get("rope_parameters")):
        if not isinstance(place, dict):
            continue
        kind = place.get("rope_type", place.get("type"))
        if isinstance(kind, str) and kind != "default":
            return {"rope.scaling.type": kind, **numbers(SCALING, [place, config])}
    return {}


def unusual(config: Mapping[str, object]) -> dict[str, MetadataValue]:
    """Keys for what most models of the Llama family do not have."""
    keys: dict[str, MetadataValue] = {}
    activation = config.get("hidden_act")
    if isinstance(activation, str) and activation not in ("silu", "swish"):
        keys["feed_forward.activation"] = activation
    if config.get("use_sliding_window", True) is not False:
        keys |= numbers({"attention.sliding_window": ("sliding_window",)}, [config])
    if config.get("rope_interleaved") is True:
        keys["rope.interleaved"] = True
    part = config.get("partial_rotary_factor")
    width = config.get("head_dim")
    if isinstance(part, int | float) and part != 1 and isinstance(width, int):
        keys["rope.dimension_count"] = number(
            "rope.dimension_count", "partial_rotary_factor", part * width
        )
    return keys


def number(key: str, name: str, value: int | float) -> int | float:
    """The value of the config's field `name` in the type that its key has."""
    is_float = key.startswith("rope.") and not key.endswith(("context_length", "dimension_count"))
    is_float = is_float or "epsilon" in key
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
