"""Rotary position embeddings in numpy: which pairs are turned, how fast, how that is scaled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scaling = Literal["none", "linear", "llama3", "yarn"]


@dataclass(frozen=True)
class Rope:
    """What the keys `edgecomp.model.rope.*` say; `interleaved` pairs neighbours, else halves."""

    base: float = 10000.0
    interleaved: bool = False
    scaling: Scaling = "none"
    factor: float = 1.0
    original_context: float = 1.0
    low_factor: float = 1.0
    high_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float = 0.0  # 0: by the scale


def frequencies(rope: Rope, d_head: int) -> NDArray[np.float32]:
    """Angle per position of each pair of a head, float32 (d_head / 2,).

    base^(-2 i / d_head) in double precision, scaled there, then rounded once. Scalings: linear
    divides by the factor; llama3 and YaRN do so with slow pairs only (Llama 3.1's model code; Peng
    et al. 2023, section 3.2, with bounds rounded to whole pairs as transformers does).
    """
    n = d_head // 2
    plain = [1.0 / math.pow(rope.base, i / n) for i in range(n)]
    if rope.scaling == "linear":
        plain = [frequency / rope.factor for frequency in plain]
    if rope.scaling == "llama3":
        plain = [_llama3(rope, frequency) for frequency in plain]
    if rope.scaling == "yarn":
        plain = [_yarn(rope, n, i, frequency) for i, frequency in enumerate(plain)]
    return np.array(plain, np.float64).astype(np.float32)


def _llama3(rope: Rope, frequency: float) -> float:
    wave = 2 * math.pi / frequency
    if wave < rope.original_context / rope.high_factor:
        return frequency
    if wave > rope.original_context / rope.low_factor:
        return frequency / rope.factor
    span = rope.high_factor - rope.low_factor
    smooth = (rope.original_context / wave - rope.low_factor) / span
    return (1 - smooth) * frequency / rope.factor + smooth * frequency


def _yarn(rope: Rope, n: int, pair: int, frequency: float) -> float:
    def place(turns: float) -> float:
        return n * math.log(rope.original_context / (turns * 2 * math.pi)) / math.log(rope.base)

    low = max(math.floor(place(rope.beta_fast)), 0)
    high: float = min(math.ceil(place(rope.beta_slow)), 2 * n - 1)
    if high == low:
        high += 0.001
    ramp = min(max((pair - low) / (high - low), 0.0), 1.0)
    return frequency / rope.factor * ramp + frequency * (1 - ramp)


def magnitude(rope: Rope) -> float:
    """What cosines and sines are multiplied with: 1 but for YaRN, 0.1 ln(factor) + 1."""
    if rope.scaling != "yarn":
        return 1.0
    if rope.attention_factor > 0:
        return rope.attention_factor
    return 1.0 if rope.factor <= 1 else 0.1 * math.log(rope.factor) + 1


def angles(rope: Rope, d_head: int, position: int) -> NDArray[np.float32]:
    """Cosines and sines of the pairs' angles at a position, float32 (2, d_head / 2).

    The angle is the float32 product of position and frequency; cosine and sine are the C library's
    in double precision, times `magnitude`, rounded once. Libraries differ in the last bit of a
    double at most, which the rounding hides but for one value in 2**28.
    """
    turned = np.float32(position) * frequencies(rope, d_head)
    scale = magnitude(rope)
    cosines = [math.cos(angle) * scale for angle in turned.tolist()]
    sines = [math.sin(angle) * scale for angle in turned.tolist()]
    return np.array([cosines, sines], np.float64).astype(np.float32)


def rotate_pairs(
    x: NDArray[np.float32], turn: NDArray[np.float32], interleaved: bool
) -> NDArray[np.float32]:
    """Heads turned by `angles`: pairs (a, b) become (a cos - b sin, b cos + a sin).

    `x` float32 (heads, d_head). Pair i is the numbers i and i + d_head / 2 of a head, or, with
    `interleaved`, 2 i and 2 i + 1.
    """
    cosines, sines = turn
    n = x.shape[1] // 2
    first = slice(0, None, 2) if interleaved else slice(0, n)
    second = slice(1, None, 2) if interleaved else slice(n, None)
    a, b = x[:, first], x[:, second]
    turned = np.empty_like(x)
    turned[:, first] = a * cosines - b * sines
    turned[:, second] = b * cosines + a * sines
    return turned
