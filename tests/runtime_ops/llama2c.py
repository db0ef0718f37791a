"""Reads a model of llama2.c, whose query and key heads rotate neighbouring numbers."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

FOLDER = Path(__file__).parents[3] / "shared" / "models" / "stories260k"
Weights = dict[str, NDArray[np.float32]]


def stories() -> Path:
    """The folder of stories260k, which is not shipped; skips the test, or fails in CI, without."""
    if not (FOLDER / "stories260K.bin").exists():
        assert not os.environ.get("CI"), f"{FOLDER} must be there in CI"
        pytest.skip(f"stories260k NOT TESTED: no {FOLDER}")
    return FOLDER


def read_model(path: Path) -> tuple[dict[str, object], Weights]:
    """Config and tensors of a file by Hugging Face's names, heads still interleaved.

    The file is seven int32 and then float32: docs of github.com/karpathy/llama2.c, export.py,
    version 0. A positive number of tokens says that the head is the embedding.
    """
    data = path.read_bytes()
    dim, d_ff, n_layers, n_heads, n_kv, vocab, context = struct.unpack_from("<7i", data)
    assert vocab > 0
    d_kv = dim // n_heads * n_kv
    blocks = {
        "input_layernorm": (dim,),
        "self_attn.q_proj": (dim, dim),
        "self_attn.k_proj": (d_kv, dim),
        "self_attn.v_proj": (d_kv, dim),
        "self_attn.o_proj": (dim, dim),
        "post_attention_layernorm": (dim,),
        "mlp.gate_proj": (d_ff, dim),
        "mlp.down_proj": (dim, d_ff),
        "mlp.up_proj": (d_ff, dim),
    }
    numbers = np.frombuffer(data, "<f4", offset=28)
    weights: Weights = {"model.embed_tokens.weight": numbers[: vocab * dim].reshape(vocab, dim)}
    at = vocab * dim
    for name, shape in blocks.items():
        for layer in range(n_layers):
            n = int(np.prod(shape))
            weights[f"model.layers.{layer}.{name}.weight"] = numbers[at : at + n].reshape(shape)
            at += n
    weights["model.norm.weight"] = numbers[at : at + dim]
    assert at + dim + context * dim // n_heads == len(numbers)  # cosines and sines follow
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": dim,
        "intermediate_size": d_ff, "num_hidden_layers": n_layers, "num_attention_heads": n_heads,
        "num_key_value_heads": n_kv, "head_dim": dim // n_heads, "vocab_size": vocab,
        "max_position_embeddings": context, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": True, "hidden_act": "silu",
    }  # fmt: skip
    return config, weights


def in_halves(weights: Weights, d_head: int) -> Weights:
    """The same network with heads whose halves are rotated, as Hugging Face has them."""
    moved = dict(weights)
    for name, rows in weights.items():
        if "q_proj" in name or "k_proj" in name:
            pairs = rows.reshape(-1, d_head // 2, 2, rows.shape[1])
            moved[name] = np.ascontiguousarray(pairs.transpose(0, 2, 1, 3)).reshape(rows.shape)
    return moved


def pieces(path: Path) -> list[bytes]:
    """The bytes of each token of a vocabulary of llama2.c."""
    data, at, found = path.read_bytes(), 4, []
    while at < len(data):
        (n,) = struct.unpack_from("<i", data, at + 4)
        found.append(data[at + 8 : at + 8 + n])
        at += 8 + n
    return found
