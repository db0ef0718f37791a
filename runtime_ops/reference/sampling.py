"""The choice of the next token: what csrc/runner/sampler.c does, in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime_ops.reference.elementary import exp_f32

WORD = (1 << 64) - 1


@dataclass(frozen=True)
class SamplerSettings:
    """Temperature 0 takes the likeliest token; top_k 0, top_p 1 and min_p 0 leave all in."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0


class ReferenceSampler:
    """Chooses tokens by the settings, with SplitMix64 (Steele, Lea, Flood, 2014) for its dice."""

    def __init__(self, settings: SamplerSettings) -> None:
        self._settings = settings
        self._state = settings.seed

    def next(self, logits: NDArray[np.float32]) -> int | None:
        """A token by its logits (n_vocab,); None when they hold NaN.

        Temperature 0: the first of the largest, as also when the largest is infinite. Otherwise the
        top_k largest logits stay, the lower token of equals; exp((logit - largest) / temperature)
        in float32 is a token's weight, and those of at least min_p stay; then as many of the
        largest, the lower token of equals, as it takes for top_p of the sum of weights. One of
        those is drawn: the first whose weight, added to those of all lower tokens, exceeds the
        sum's share that SplitMix64 gives. Sums are float64.
        """
        chosen = self._settings
        if np.isnan(logits).any():
            return None
        best = int(np.argmax(logits))
        if chosen.temperature == 0 or np.isinf(logits[best]):
            return best
        tokens: NDArray[np.int64] = np.arange(len(logits), dtype=np.int64)
        if 0 < chosen.top_k < len(logits):
            tokens = np.sort(np.argsort(-logits, kind="stable")[: chosen.top_k])
        with np.errstate(over="ignore"):
            differences = (logits[tokens] - logits[best]) / np.float32(chosen.temperature)
        shares = exp_f32(differences)
        kept = (shares > 0) & (shares >= np.float32(chosen.min_p))
        tokens, weights = tokens[kept], shares[kept].astype(np.float64)
        if np.float32(chosen.top_p) < 1:
            by_weight = np.argsort(-weights, kind="stable")
            enough = np.cumsum(weights[by_weight]) >= self._share(chosen.top_p, weights)
            n = int(np.argmax(enough)) + 1 if enough.any() else len(weights)
            likeliest = np.sort(by_weight[:n])
            tokens, weights = tokens[likeliest], weights[likeliest]
        sums = np.cumsum(weights)
        below = int(np.count_nonzero(sums <= self._uniform() * sums[-1]))
        return int(tokens[min(below, len(tokens) - 1)])

    @staticmethod
    def _share(top_p: float, weights: NDArray[np.float64]) -> float:
        return float(np.float32(top_p)) * float(np.cumsum(weights)[-1])

    def _uniform(self) -> float:
        self._state = z = (self._state + 0x9E3779B97F4A7C15) & WORD
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & WORD
        z = (z ^ z >> 27) * 0x94D049BB133111EB & WORD
        return ((z ^ z >> 31) >> 11) * 2.0**-53
