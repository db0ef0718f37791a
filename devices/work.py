"""What a model does, as the cost model counts it: products, attention, and the steps between.

Nothing here knows a device; `edgecomp` makes these of containers and checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Attention",
    "KvKind",
    "LanguageModel",
    "Layer",
    "Loop",
    "Network",
    "Operation",
    "Product",
]

KvKind = Literal["f16", "int8"]
KV_BLOCK = 32  # keys or values of int8 that share a float32 scale


@dataclass(frozen=True)
class Product:
    """A matrix times activations.

    `weights` are what the kernel's cost is counted in, `n_bytes` what is read of codes and scales.
    """

    name: str
    kernel: str
    weights: float
    n_bytes: int


@dataclass(frozen=True)
class Loop:
    """Matrices whose rows threads share in one loop, and what is done to their input before.

    `quantised` and `rotated` count activations of one token.
    """

    part: str  # such as "feed forward"
    products: tuple[Product, ...]
    quantised: int
    rotated: int

    @property
    def n_bytes(self) -> int:
        """Bytes of all matrices."""
        return sum(product.n_bytes for product in self.products)


@dataclass(frozen=True)
class Layer:
    """One layer: its loops in order, and numbers of a token that norms see beside the model's two.

    `head_norms`: the numbers that norms of queries and keys see; 0 where there are none.
    """

    loops: tuple[Loop, ...]
    head_norms: int = 0


@dataclass(frozen=True)
class Attention:
    """Heads of queries, which share those of keys and values."""

    n_heads: int
    n_kv_heads: int
    d_head: int

    @property
    def group(self) -> float:
        """Heads of queries to one of keys."""
        return self.n_heads / self.n_kv_heads

    def position_bytes(self, kv: KvKind) -> int:
        """Bytes of one layer's keys and values of one token."""
        if kv == "f16":
            return 4 * self.n_kv_heads * self.d_head
        blocks = -(-self.d_head // KV_BLOCK)
        return 2 * self.n_kv_heads * blocks * (KV_BLOCK + 4)


@dataclass(frozen=True)
class LanguageModel:
    """A model of the Llama family."""

    name: str
    layers: tuple[Layer, ...]
    attention: Attention
    d_model: int
    d_ff: int
    n_vocab: int
    head: Loop
    file_bytes: int

    @property
    def token_bytes(self) -> int:
        """Bytes of weights that are read for a token."""
        loops = [loop for layer in self.layers for loop in layer.loops]
        return sum(loop.n_bytes for loop in (*loops, self.head))

    def kv_bytes(self, context: int, kv: KvKind) -> int:
        """Bytes of the keys and values of so many tokens."""
        return len(self.layers) * context * self.attention.position_bytes(kv)


@dataclass(frozen=True)
class Operation:
    """A layer of a network that is no language model: multiplications of one input, and weights.

    Without weights, as in attention, `kernel` is empty.
    """

    name: str
    kernel: str
    multiplies: float  # of one input
    weights: float
    n_bytes: int


@dataclass(frozen=True)
class Network:
    """An encoder or a convolutional net: its operations, each over a batch of inputs."""

    name: str
    operations: tuple[Operation, ...]
    file_bytes: int
    activation_bytes: int  # the largest pair of an operation's input and output, of one input
