"""What generation needs of a model, a tokenizer and a sampler; runtime_ops has them over C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Model", "Sampler", "Tokenizer"]


class Model(Protocol):
    """A language model with a cache of the tokens that it has read."""

    def eval(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Logits (vocab,) behind the last of `tokens`, which join those in the cache."""

    def rewind(self, n_past: int) -> None:
        """Keeps the first `n_past` tokens of the cache."""


class Tokenizer(Protocol):
    """Text to tokens and back. Its calls change nothing, so threads may share it."""

    @property
    def bos(self) -> int | None:
        """The token that starts a text."""

    def encode(self, text: str, begin: bool = True, special: bool = True) -> list[int]:
        """Tokens of a text; `begin`: behind the token that starts a text, if the model has one."""

    def piece(self, token: int, first: bool = False, special: bool = False) -> bytes:
        """Bytes of a token, maybe a part of a character; none for a control token."""

    def is_end(self, token: int) -> bool:
        """Whether a text ends with this token."""


class Sampler(Protocol):
    """Chooses tokens."""

    def next(self, logits: NDArray[np.float32]) -> int:
        """The token that follows, by the logits (vocab,)."""
