"""A model and the tokens in its cache: what a prompt shares with the last text stays read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgecomp.generation.interfaces import Model

__all__ = ["TokenCache"]

STEP = 64  # tokens of a prompt between two looks at whether anybody still wants the answer


class TokenCache:
    """The tokens that a model has read. A token's result does not depend on what it is read with,
    so a text that goes on from kept tokens is the text that a new cache gives.
    """

    def __init__(self, model: Model, n_context: int) -> None:
        self.n_context = n_context
        self._model = model
        self._tokens: list[int] = []

    @property
    def is_full(self) -> bool:
        """Whether no token more can be read."""
        return len(self._tokens) >= self.n_context

    def restart(self, prompt: Sequence[int]) -> int:
        """How many tokens of a prompt are kept from the text before; the others have gone.

        The prompt's last token is always read again: its logits are not kept.
        """
        kept = 0
        most = min(len(self._tokens), len(prompt) - 1)
        while kept < most and self._tokens[kept] == prompt[kept]:
            kept += 1
        self._model.rewind(kept)
        del self._tokens[kept:]
        return kept

    def read(
        self, tokens: Sequence[int], stopped: Callable[[], bool] = lambda: False
    ) -> NDArray[np.float32] | None:
        """Logits (vocab,) float32 behind the last of `tokens`; None when `stopped` said so.

        When the model fails nothing is kept.
        """
        logits = None
        for first in range(0, len(tokens), STEP):
            if stopped():
                return None
            step = list(tokens[first : first + STEP])
            try:
                logits = self._model.eval(step)
            except BaseException:
                self._tokens.clear()
                self._model.rewind(0)
                raise
            self._tokens += step
        return logits
