"""Llama models of real shapes and random weights: for speed, which needs no sense."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edgecomp.checkpoint import hyperparameters
from edgecomp.compression.fingerprint import settings_text
from edgecomp.encode import Settings
from edgecomp.latency.planned import planned_format
from edgecomp.measuring.random_weights import random_tensor as random_weights
from exporters.bundle import ModelBundle, TensorSource
from exporters.gguf import write_container
from runtime_ops.formats import EncodedTensor, RawFormat

SEED = 20261122
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Shape:
    """The sides of a Llama, TinyLlama 1.1B by default; `tied`: the embedding is its head."""

    n_layers: int = 22
    d_model: int = 2048
    d_ff: int = 5632
    n_heads: int = 32
    n_kv_heads: int = 4
    n_vocab: int = 32000
    tied: bool = False

    @property
    def d_head(self) -> int:
        """Numbers in a head."""
        return self.d_model // self.n_heads

    @property
    def n_weights(self) -> int:
        """Weights of all matrices and norms."""
        return sum(math.prod(sides) for _, sides in self.tensors())

    def config(self) -> dict[str, object]:
        """The config.json that transformers would have."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": self.d_model,
            "intermediate_size": self.d_ff,
            "num_hidden_layers": self.n_layers,
            "num_attention_heads": self.n_heads,
            "num_key_value_heads": self.n_kv_heads,
            "head_dim": self.d_head,
            "vocab_size": self.n_vocab,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": self.tied,
        }

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name, as transformers has it, and sides of every tensor."""
        wide, narrow = self.n_heads * self.d_head, self.n_kv_heads * self.d_head
        yield EMBEDDING, (self.n_vocab, self.d_model)
        for i in range(self.n_layers):
            layer = f"model.layers.{i}"
            yield f"{layer}.input_layernorm.weight", (self.d_model,)
            yield f"{layer}.self_attn.q_proj.weight", (wide, self.d_model)
            yield f"{layer}.self_attn.k_proj.weight", (narrow, self.d_model)
            yield f"{layer}.self_attn.v_proj.weight", (narrow, self.d_model)
            yield f"{layer}.self_attn.o_proj.weight", (self.d_model, wide)
            yield f"{layer}.post_attention_layernorm.weight", (self.d_model,)
            yield f"{layer}.mlp.gate_proj.weight", (self.d_ff, self.d_model)
            yield f"{layer}.mlp.up_proj.weight", (self.d_ff, self.d_model)
            yield f"{layer}.mlp.down_proj.weight", (self.d_model, self.d_ff)
        yield "model.norm.weight", (self.d_model,)
        if not self.tied:
            yield HEAD, (self.n_vocab, self.d_model)


SHAPES = {"0.5B": Shape(n_layers=9), "1.1B": Shape()}


def random_tensor(name: str, sides: tuple[int, ...], settings: Settings) -> EncodedTensor:
    """The tensor as `edgecomp compress` stores one of these settings; the same for a name always.

    Vectors are norms: ones.
    """
    if len(sides) < 2:
        return EncodedTensor(RawFormat("f16"), sides, {"raw": np.ones(sides, np.float16)})
    return random_weights(planned_format(name, sides, settings), sides, generator(name))


def generator(name: str) -> np.random.Generator:
    """The random numbers of a tensor."""
    return np.random.default_rng([SEED, zlib.crc32(name.encode())])


def write_random_container(path: Path, name: str, shape: Shape, settings: Settings) -> None:
    """Writes the model as a container in these settings, one tensor in memory at a time."""
    sources = [
        TensorSource(tensor, partial(random_tensor, tensor, sides, settings))
        for tensor, sides in shape.tensors()
    ]
    text, keys = settings_text(settings), hyperparameters(shape.config())
    write_container(ModelBundle(name, tuple(sources), text, keys), path)
