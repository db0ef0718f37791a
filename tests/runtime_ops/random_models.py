"""Tiny random models of the Llama family, in every codec and with every kind of layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporters.bundle import MetadataValue, ModelBundle, TensorSource
from exporters.gguf import write_container
from runtime_ops.formats import (
    ColumnsFormat,
    EncodedTensor,
    Format,
    PlainFormat,
    RawFormat,
    Table,
    UniformFormat,
    WindingFormat,
)
from runtime_ops.formats.columns import CRITICAL_PREFIX
from runtime_ops.reference import stored_matrix
from tests.runtime_ops.crvq_vectors import crvq_format
from tests.runtime_ops.trellis_vectors import rotated, trellis_format
from tests.runtime_ops.vectors import LATTICE, SEED, random_parts

RAW32, RAW16 = RawFormat("f32"), RawFormat("f16")
BYTES = 8  # scales of windings: bytes around 200


@dataclass(frozen=True)
class Variation:
    """A model's sizes, what its layers have, and in which format each kind of tensor is.

    `formats` are by the last part of a tensor's name, `rest` is for all others.
    """

    name: str
    rest: Format = RAW32
    formats: Mapping[str, Format] = field(default_factory=dict)
    heads: tuple[int, int] = (4, 2)
    d_head: int = 16
    d_model: int = 64
    d_ff: int = 96
    tied: bool = False
    biases: tuple[str, ...] = ()
    head_norms: bool = False
    keys: Mapping[str, MetadataValue] = field(default_factory=dict)


def order(columns: int, seed: int) -> Table:
    """A permutation of columns."""
    return Table.of(np.random.default_rng(seed).permutation(columns).astype(np.uint16))


CRVQ = crvq_format(8, 8, False, (3, 1))
BYTE = replace(LATTICE, dim=1, generator=(1 << 24,), shift=(1 << 23,), points=256, levels=256)
PAIRS = replace(rotated(32, 12, 3), fold=5)
LLAMA3 = {
    "rope.scaling.type": "llama3", "rope.scaling.factor": 8.0, "rope.freq_base": 500.0,
    "rope.scaling.low_freq_factor": 1.0, "rope.scaling.high_freq_factor": 4.0,
    "rope.scaling.original_context_length": 40,
}  # fmt: skip
YARN = {
    "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.freq_base": 1000.0,
    "rope.scaling.original_context_length": 32,
}  # fmt: skip

VARIATIONS = (
    Variation("floats, tied", heads=(4, 4), tied=True),
    Variation("halves", RAW16, heads=(4, 1), keys={"rope.interleaved": True}),
    Variation("trellis", rotated(16), {"down_proj": rotated(32)}),
    Variation("odd trellis", PAIRS, {"down_proj": trellis_format(12, 3, 1, 8, True)}, d_ff=75),
    Variation(
        "crvq", CRVQ, {"down_proj": crvq_format(4, 5, False, (1,))}, d_ff=99,
        biases=("q_proj", "k_proj", "v_proj"),
        keys={"architecture": "qwen2", "rope.scaling.type": "linear", "rope.scaling.factor": 2.5},
    ),
    Variation(
        "lattice, norms of heads", LATTICE, d_head=32, tied=True, head_norms=True,
        keys={"architecture": "qwen3", **LLAMA3},
    ),
    Variation(
        "columns", ColumnsFormat(rotated(16), BYTE, 32, order(64, 1)),
        {"down_proj": ColumnsFormat(trellis_format(8, 2, 1, 6, False), CRVQ, 24, order(96, 2)),
         "o_proj": BYTE},
        tied=True, keys={"architecture": "mistral", **YARN, "attention.sliding_window": 64},
    ),
    Variation(
        "mixed", BYTE,
        {"q_proj": rotated(64), "k_proj": RAW16, "v_proj": CRVQ, "up_proj": rotated(16),
         "gate_proj": ColumnsFormat(RAW16, permutation=order(64, 3)),
         "embed_tokens": rotated(32)},
        biases=("o_proj", "gate_proj", "down_proj"),
    ),
    Variation(
        "uniform", UniformFormat(4, 64),
        {"down_proj": UniformFormat(8, 32), "o_proj": UniformFormat(2, 32),
         "embed_tokens": UniformFormat(8, 32)},
        heads=(6, 3), d_head=24, d_ff=131, tied=True,
    ),
    Variation("one head of keys for many", BYTE, heads=(20, 1), d_head=6, d_model=96, tied=True),
    Variation("wide heads", RAW16, heads=(2, 1), d_head=74, d_model=40, d_ff=33),
)  # fmt: skip
N_LAYERS, N_VOCAB, N_CONTEXT = 2, 50, 64


def model_keys(v: Variation) -> dict[str, MetadataValue]:
    """The keys below `edgecomp.model.`."""
    return {
        "architecture": "llama",
        "block_count": N_LAYERS,
        "embedding_length": v.d_model,
        "feed_forward_length": v.d_ff,
        "attention.head_count": v.heads[0],
        "attention.head_count_kv": v.heads[1],
        "attention.key_length": v.d_head,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "context_length": N_CONTEXT,
        "vocab_size": N_VOCAB,
        **v.keys,
    }


def shapes(v: Variation) -> dict[str, tuple[int, ...]]:
    """All tensors by name, without `.weight`, but for biases."""
    d_q, d_kv = v.heads[0] * v.d_head, v.heads[1] * v.d_head
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm": (v.d_model,),
        "post_attention_layernorm": (v.d_model,),
        "self_attn.q_proj": (d_q, v.d_model),
        "self_attn.k_proj": (d_kv, v.d_model),
        "self_attn.v_proj": (d_kv, v.d_model),
        "self_attn.o_proj": (v.d_model, d_q),
        "mlp.gate_proj": (v.d_ff, v.d_model),
        "mlp.up_proj": (v.d_ff, v.d_model),
        "mlp.down_proj": (v.d_model, v.d_ff),
    }
    if v.head_norms:
        layer |= {"self_attn.q_norm": (v.d_head,), "self_attn.k_norm": (v.d_head,)}
    found = {"model.embed_tokens": (N_VOCAB, v.d_model), "model.norm": (v.d_model,)}
    for i in range(N_LAYERS):
        found |= {f"model.layers.{i}.{name}": shape for name, shape in layer.items()}
    return found if v.tied else found | {"lm_head": (N_VOCAB, v.d_model)}


def random_model(v: Variation) -> dict[str, EncodedTensor]:
    """The model's tensors by name; weights of a size that keeps activations near 1."""
    rng = np.random.default_rng([SEED, *v.name.encode()])
    tensors: dict[str, EncodedTensor] = {}
    for name, shape in shapes(v).items():
        last = name.rsplit(".", 1)[-1]
        if len(shape) == 1:
            weights = (1 + rng.normal(0, 0.1, shape)).astype(np.float16)
            tensors[f"{name}.weight"] = EncodedTensor(RAW16, shape, {"raw": weights})
            continue
        size = 1.0 if last == "embed_tokens" else shape[1] ** -0.5
        fmt = v.formats.get(last, v.rest)
        tensors[f"{name}.weight"] = scaled_tensor(fmt, (shape[0], shape[1]), size, rng)
        if last in v.biases:
            bias = rng.normal(0, 0.2, shape[0]).astype(np.float32)
            tensors[f"{name}.bias"] = EncodedTensor(RAW32, (shape[0],), {"raw": bias})
    return tensors


def scaled_tensor(
    fmt: Format, shape: tuple[int, int], size: float, rng: np.random.Generator
) -> EncodedTensor:
    """A tensor of random codes whose weights have that standard deviation."""
    if not isinstance(fmt, ColumnsFormat):
        return EncodedTensor(fmt, shape, scaled_parts(fmt, shape, size, rng))
    critical_shape, rest_shape = fmt.part_shapes(shape)
    parts = scaled_parts(fmt.rest, (rest_shape[0], rest_shape[1]), size, rng)
    if fmt.critical is not None:
        critical = scaled_parts(fmt.critical, (critical_shape[0], critical_shape[1]), size, rng)
        parts = {CRITICAL_PREFIX + name: part for name, part in critical.items()} | parts
    return EncodedTensor(fmt, shape, parts)


def scaled_parts(
    fmt: PlainFormat, shape: tuple[int, int], size: float, rng: np.random.Generator
) -> dict[str, NDArray[np.generic]]:
    """Parts of a matrix whose weights, before they are rotated back, have that size."""
    parts = random_parts(fmt, shape, rng)
    if isinstance(fmt, RawFormat):
        return {"raw": (parts["raw"].astype(np.float64) * size).astype(parts["raw"].dtype)}
    if "scales" in parts and parts["scales"].dtype == np.uint8:
        parts["scales"] = rng.integers(200 - BYTES, 200 + BYTES, parts["scales"].shape, np.uint8)
    elif "scales" in parts:
        inside = parts["scales"] != 0  # rows beyond the matrix must keep 0
        parts["scales"] = (inside * rng.uniform(0.5, 1, inside.shape)).astype("<f2")
    centre = fmt.dim if isinstance(fmt, WindingFormat) else 0
    params = np.ones(parts["params"].shape, np.float32)
    params[:centre] = 0
    spread = float(stored_matrix(fmt, parts | {"params": params}, shape).astype(np.float64).std())
    rotation = getattr(fmt, "rotation", 0)
    parts["params"] = params * np.float32(size / spread / (rotation or 1) ** 0.5)
    return parts


def write_model(
    path: Path, keys: Mapping[str, MetadataValue], tensors: Mapping[str, EncodedTensor]
) -> bytes:
    """Writes a container with these keys and tensors, and returns its bytes."""
    sources = tuple(
        TensorSource(name, lambda tensor=tensor: tensor) for name, tensor in tensors.items()
    )
    write_container(ModelBundle("random", sources, "{}", model=keys), path)
    return path.read_bytes()
