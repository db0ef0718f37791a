"""Random generators that do not depend on what was done before."""

from __future__ import annotations

import hashlib

import torch

__all__ = ["seeded"]


def seeded(seed: int, what: str) -> torch.Generator:
    """A generator that depends on a seed and on what it is for, not on what was done before."""
    digest = hashlib.sha256(f"{seed} {what}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
