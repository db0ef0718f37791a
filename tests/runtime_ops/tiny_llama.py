"""A Llama of two layers with random weights and a tokenizer of bytes, as a container."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from random_llama import Shape, random_tensor

from edgecomp.checkpoint import hyperparameters
from edgecomp.encode import TrellisSettings
from exporters.bundle import MetadataValue, ModelBundle, TensorSource
from exporters.gguf import write_container

__all__ = ["END", "SHAPE", "tiny_llama", "vocabulary"]

SHAPE = Shape(n_layers=2, d_model=64, d_ff=96, n_heads=4, n_kv_heads=2, n_vocab=260)
END = 0
CONTROL, NORMAL = 3, 1


def vocabulary() -> list[str]:
    """Tokens of byte-level BPE: the end of a text, every byte, three merged ones."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in names]
    names |= {byte: chr(256 + i) for i, byte in enumerate(others)}
    return ["<|endoftext|>", *(names[byte] for byte in range(256)), "th", "the", "in"]


def tokenizer_keys() -> dict[str, MetadataValue]:
    """The container's keys of the tokenizer."""
    tokens = vocabulary()
    keys: dict[str, MetadataValue] = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": tokens,
        "token_type": [CONTROL, *[NORMAL] * (len(tokens) - 1)],
        "merges": ["t h", "th e", "i n"],
        "bos_token_id": END,
        "eos_token_id": END,
        "add_bos_token": False,
        "add_eos_token": False,
    }
    return {f"tokenizer.ggml.{key}": value for key, value in keys.items()}


def tiny_llama(
    path: Path,
    model: Mapping[str, MetadataValue] | None = None,
    sides: Mapping[str, tuple[int, ...]] | None = None,
) -> Path:
    """Writes the container; `model` replaces hyper-parameters, `sides` those of tensors.

    A tensor without sides, (), is left out.
    """
    tensors = dict(SHAPE.tensors()) | dict(sides or {})
    settings = TrellisSettings(bits=3)
    sources = tuple(
        TensorSource(name, partial(random_tensor, name, tensors[name], settings))
        for name in tensors
        if tensors[name]
    )
    keys = hyperparameters(SHAPE.config()) | dict(model or {})
    write_container(ModelBundle("tiny", sources, "{}", keys, tokenizer_keys()), path)
    return path
