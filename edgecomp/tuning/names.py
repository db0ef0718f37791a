"""What the names of tensors say: their block, and their kind."""

from __future__ import annotations

__all__ = ["block_of", "kind_of"]


def block_of(name: str) -> str:
    """The first number in a tensor's name: `12` of `model.layers.12.mlp.up_proj.weight`."""
    return next((part for part in name.split(".") if part.isdigit()), "")


def kind_of(name: str) -> str:
    """A tensor's name without its block's number: tensors of a kind share it."""
    parts = name.split(".")
    place = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return ".".join(part for i, part in enumerate(parts) if i != place)
