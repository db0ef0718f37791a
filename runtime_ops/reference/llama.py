"""The Llama forward pass in numpy: the specification of csrc/runner/model.

All numbers are float32, each operation is rounded once, none is fused, and every sum has a stated
order: that of `lanes_sum`, or ascending from 0. So the logits have the same bits on every machine,
with any number of threads, and however many tokens are evaluated together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats import (
    ColumnsFormat,
    EncodedTensor,
    PlainFormat,
    matrices,
    matrix_sides,
)
from runtime_ops.reference.elementary import exp_f32
from runtime_ops.reference.integers import integer_matrix, is_integer, matmul_blocks, quantise
from runtime_ops.reference.products import LANES, gemv_f32, prepare
from runtime_ops.reference.rope import Rope, Scaling, angles, rotate_pairs
from runtime_ops.reference.weights import decode, stored_matrix

Array = NDArray[np.float32]
Product = Callable[[Array], Array]  # (n_tokens, d_in) -> (n_tokens, d_out)
KV = Literal["f16", "int8"]
ONE = np.float32(1)


@dataclass(frozen=True)
class Llama:
    """A model of the Llama family: its sizes, and where its tensors come from.

    `tensor(name)` is the tensor of a Hugging Face name, None when there is none. A model without
    lm_head.weight takes its embedding for a head; biases, and norms of heads, count if they exist.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    epsilon: float
    rope: Rope
    tensor: Callable[[str], EncodedTensor | None]


class Session:
    """A model with the keys and values of the tokens so far, kept as float16 or int8."""

    def __init__(self, model: Llama, kv: KV = "f16") -> None:
        self.model = model
        self.kv = kv
        self.past = 0
        self._keys: list[list[Array]] = [[] for _ in range(model.n_layers)]
        self._values: list[list[Array]] = [[] for _ in range(model.n_layers)]
        self._linears: dict[str, Product] = {}
        self._vectors: dict[str, Array] = {}
        self._embedding = decode(self._needed("model.embed_tokens.weight"))

    def rewind(self, n_past: int) -> None:
        """Keeps the first n_past tokens."""
        self.past = min(self.past, n_past)
        for kept in (*self._keys, *self._values):
            del kept[self.past :]

    def eval(self, tokens: Sequence[int]) -> Array:
        """Logits behind the last of some tokens, which are added to those so far."""
        x = self._embedding[np.array(tokens)]
        for layer in range(self.model.n_layers):
            name = f"model.layers.{layer}"
            x = x + self._attention(layer, self._norm(x, f"{name}.input_layernorm"))
            normed = self._norm(x, f"{name}.post_attention_layernorm")
            gate = self._product(f"{name}.mlp.gate_proj", normed)
            up = self._product(f"{name}.mlp.up_proj", normed)
            x = x + self._product(f"{name}.mlp.down_proj", silu(gate) * up)
        self.past += len(tokens)
        last = self._norm(x[-1:], "model.norm")
        own = self.model.tensor("lm_head.weight") is not None
        logits = self._product("lm_head" if own else "model.embed_tokens", last)
        return logits.reshape(-1)

    def _attention(self, layer: int, x: Array) -> Array:
        """Output of a layer's attention, (n_tokens, d_model)."""
        model, name = self.model, f"model.layers.{layer}.self_attn"
        q, k, v = (self._product(f"{name}.{part}_proj", x) for part in "qkv")
        keys, values = self._keys[layer], self._values[layer]
        out = np.empty((len(x), model.n_heads * model.d_head), np.float32)
        for token in range(len(x)):
            turn = angles(model.rope, model.d_head, self.past + token)
            heads = self._turned(f"{name}.q_norm", q[token], turn)
            keys.append(kept(self._turned(f"{name}.k_norm", k[token], turn), self.kv))
            values.append(kept(v[token].reshape(-1, model.d_head), self.kv))
            all_keys, all_values = np.stack(keys, axis=1), np.stack(values, axis=1)
            group = model.n_heads // model.n_kv_heads
            seen = [
                attend(head, all_keys[i // group], all_values[i // group])
                for i, head in enumerate(heads)
            ]
            out[token] = np.concatenate(seen)
        return self._product(f"{name}.o_proj", out)

    def _turned(self, norm: str, x: Array, turn: Array) -> Array:
        """Heads (n, d_head): normed by the head's norm, if there is one, then turned."""
        heads = x.reshape(-1, self.model.d_head)
        if self.model.tensor(f"{norm}.weight") is not None:
            heads = self._norm(heads, norm)
        return rotate_pairs(heads, turn, self.model.rope.interleaved)

    def _norm(self, x: Array, name: str) -> Array:
        return rms_norm(x, self._vector(f"{name}.weight"), np.float32(self.model.epsilon))

    def _product(self, stem: str, x: Array) -> Array:
        y = self._linear(stem)(x)
        has_bias = self.model.tensor(f"{stem}.bias") is not None
        return y + self._vector(f"{stem}.bias") if has_bias else y

    def _linear(self, stem: str) -> Product:
        if stem not in self._linears:
            self._linears[stem] = linear(self._needed(f"{stem}.weight"))
        return self._linears[stem]

    def _vector(self, name: str) -> Array:
        if name not in self._vectors:
            self._vectors[name] = decode(self._needed(name))
        return self._vectors[name]

    def _needed(self, name: str) -> EncodedTensor:
        tensor = self.model.tensor(name)
        if tensor is None:
            raise ValueError(f"tensor {name}: missing, expected in a model of the Llama family")
        return tensor


def llama(model: Mapping[str, object], tensor: Callable[[str], EncodedTensor | None]) -> Llama:
    """The model of a container's keys `edgecomp.model.*`, without that prefix.

    The keys are taken for right; `ec_model_open` is what checks them.
    """

    def number(name: str, otherwise: float = 0.0) -> float:
        value = model.get(name, otherwise)
        assert isinstance(value, int | float)
        return value

    n_heads = int(number("attention.head_count"))
    scalings: dict[object, Scaling] = {"linear": "linear", "llama3": "llama3", "yarn": "yarn"}
    made = number("context_length")
    rope = Rope(
        base=number("rope.freq_base", 10000.0),
        interleaved=bool(model.get("rope.interleaved", False)),
        scaling=scalings.get(model.get("rope.scaling.type"), "none"),
        factor=number("rope.scaling.factor", 1.0),
        original_context=number("rope.scaling.original_context_length", made),
        low_factor=number("rope.scaling.low_freq_factor", 1.0),
        high_factor=number("rope.scaling.high_freq_factor", 4.0),
        beta_fast=number("rope.scaling.beta_fast", 32.0),
        beta_slow=number("rope.scaling.beta_slow", 1.0),
        attention_factor=number("rope.scaling.attention_factor"),
    )
    return Llama(
        n_layers=int(number("block_count")),
        n_heads=n_heads,
        n_kv_heads=int(number("attention.head_count_kv", n_heads)),
        d_head=int(number("attention.key_length", number("embedding_length") // n_heads)),
        epsilon=number("attention.layer_norm_rms_epsilon"),
        rope=rope,
        tensor=tensor,
    )


def linear(tensor: EncodedTensor) -> Product:
    """The tensor's product with tokens (n_tokens, d_in), decoded once for many calls.

    `matmul_i8` where weights are integers times scales, else `gemm`.
    """
    rows, columns = matrix_sides(tensor.shape)
    stored = matrices(tensor)
    n_critical = tensor.format.n_critical if isinstance(tensor.format, ColumnsFormat) else 0
    bounds = [0, n_critical, columns] if len(stored) > 1 else [0, columns]
    part_product = integer_product if is_integer(tensor) else float_product
    parts = [
        part_product(fmt, parts, (rows, end - first))
        for (fmt, parts), (first, end) in zip(stored, pairwise(bounds), strict=True)
    ]

    def product(x: Array) -> Array:
        x = prepare(tensor, x)
        products = [
            part(x[:, first:end])
            for part, (first, end) in zip(parts, pairwise(bounds), strict=True)
        ]
        return products[0] if len(products) == 1 else products[0] + products[1]

    return product


def integer_product(
    fmt: PlainFormat, parts: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]
) -> Product:
    """The product with a matrix of whole numbers times scales."""
    matrix = integer_matrix(fmt, parts, shape)
    return lambda x: matmul_blocks(matrix, *quantise(x))


def float_product(
    fmt: PlainFormat, parts: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]
) -> Product:
    """The product with any other matrix."""
    weights = stored_matrix(fmt, parts, shape)
    return lambda x: np.array([gemv_f32(weights, token) for token in x], np.float32)


def lanes_sum(x: Array) -> Array:
    """Sums of the last axis: number j is added to lane j mod 8, ascending, each lane from 0.

    Then lanes l and l + 4 are added, then l and l + 2, then the last two, as in `gemv_f32`.
    """
    steps = -(-x.shape[-1] // LANES)
    padded = np.zeros((*x.shape[:-1], steps * LANES), np.float32)
    padded[..., : x.shape[-1]] = x
    lanes = np.zeros((*x.shape[:-1], LANES), np.float32)
    for step in range(steps):
        lanes = lanes + padded[..., step * LANES : (step + 1) * LANES]
    fours = lanes[..., :4] + lanes[..., 4:]
    twos = fours[..., :2] + fours[..., 2:]
    sums: Array = twos[..., 0] + twos[..., 1]
    return sums


def rms_norm(x: Array, weight: Array, epsilon: np.float32) -> Array:
    """(x * (1 / sqrt(mean of squares + epsilon))) * weight for each row of x."""
    mean = lanes_sum(x * x) / np.float32(x.shape[-1])
    factors: Array = ONE / np.sqrt(mean + epsilon)
    return x * factors[..., None] * weight


def silu(x: Array) -> Array:
    """x / (1 + exp(-x))."""
    return x / (ONE + exp_f32(-x))


def attend(query: Array, keys: Array, values: Array) -> Array:
    """What a head of queries (d_head,) sees in keys and values (positions, d_head).

    Scores are `lanes_sum` of products times 1 / sqrt(d_head), weights their exponentials after the
    largest score is taken off; values times weights are added by position, then divided by the
    `lanes_sum` of the weights.
    """
    scores = gemv_f32(keys, query) * np.float32(1 / math.sqrt(len(query)))
    weights = exp_f32(scores - scores.max())
    products = np.concatenate([np.zeros((1, len(query)), np.float32), weights[:, None] * values])
    added: Array = np.add.accumulate(products, axis=0)[-1]
    return added / lanes_sum(weights)


def kept(heads: Array, kv: KV) -> Array:
    """Vectors (n, d_head) as the cache gives them back.

    `f16` rounds to nearest, ties to even; `int8` is `quantise` of each vector, value times scale.
    """
    if kv == "f16":
        with np.errstate(over="ignore"):
            return heads.astype(np.float16).astype(np.float32)
    values, scales = quantise(heads)
    blocks = values.reshape(*scales.shape, -1).astype(np.float32) * scales[..., None]
    return blocks.reshape(len(heads), -1)[:, : heads.shape[1]]
