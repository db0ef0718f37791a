"""How tokens are chosen."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Sampling"]


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 takes the likeliest token, whatever the rest says."""

    temperature: float = 0.0
    top_k: int = 0  # of the likeliest tokens; 0: all
    top_p: float = 1.0  # the likeliest ones that have this probability together
    min_p: float = 0.0  # tokens with at least this share of the likeliest one's probability
    seed: int = 0  # 0 .. 2^64 - 1
