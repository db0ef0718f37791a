"""Small random networks with a tokenizer of letters, and a text for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

__all__ = ["save_small", "write_text"]

LETTERS = "".join(chr(ord("A") + i) for i in range(40))
SIZES = {"vocab_size": 48, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
         "eos_token_id": 2, "num_hidden_layers": 2, "num_attention_heads": 4}  # fmt: skip
GATED = {**SIZES, "hidden_size": 32, "intermediate_size": 96, "num_key_value_heads": 2}
NETWORKS: dict[str, dict[str, object]] = {
    "llama": GATED,
    "qwen2": {**GATED, "tie_word_embeddings": True},
    "opt": {**SIZES, "hidden_size": 32, "ffn_dim": 96, "word_embed_proj_dim": 32},
    "gpt2": {"vocab_size": 48, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4},
}


def save_small(folder: Path, architecture: str = "llama", **changes: object) -> Path:
    """Writes a network's folder, its weights drawn with seed 0, and returns it."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = CONFIG_MAPPING[architecture](**(NETWORKS[architecture] | changes))
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in network.parameters():  # norms and biases are 1 and 0 when made
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    network.save_pretrained(folder)
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2}
    vocabulary |= {letter: i + 3 for i, letter in enumerate(LETTERS)}
    model = {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "<unk>"}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model}))
    return folder


def write_text(path: Path, n_letters: int = 520) -> Path:
    """Writes a text of so many letters, some of them far more common, and returns its path."""
    chances = 1.0 / np.arange(1, len(LETTERS) + 1)
    picks = np.random.default_rng(0).choice(len(LETTERS), n_letters, p=chances / chances.sum())
    path.write_text("".join(LETTERS[i] for i in picks))
    return path
