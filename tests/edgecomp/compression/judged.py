"""How far a container's model is from the one that it was made from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from edgecomp.checkpoint import open_checkpoint
from edgecomp.evaluation import load_compressed, load_original, read_tokens
from exporters.gguf import open_container

__all__ = ["CONTEXT", "kl"]

CONTEXT = 32  # tokens in a window


def kl(out: Path, folder: Path, text: Path) -> float:
    """Of the container from the original, over 8 windows; its checksums are computed as well."""
    with open_container(out) as container:
        assert container.verify() == []
    tokens = read_tokens(folder / "tokenizer.json", text.read_text())[: 8 * CONTEXT]
    windows = torch.from_numpy(tokens.reshape(8, CONTEXT))
    networks: list[Any] = [
        load_original(open_checkpoint(str(folder))).network,
        load_compressed(out).network,
    ]
    with torch.no_grad():
        wanted, given = (n(input_ids=windows).logits.log_softmax(-1) for n in networks)
    found = float((wanted.exp() * (wanted - given)).sum(-1).mean())
    assert math.isfinite(found)
    return found
