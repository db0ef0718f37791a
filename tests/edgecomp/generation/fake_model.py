"""A model, a tokenizer and a sampler with rules that a test can follow by hand."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

VOCAB = 300
BEGIN, END = 256, 257  # tokens below are bytes
MODULUS = 26


class FakeModel:
    """The next token is a letter that depends on all tokens before."""

    def __init__(self, seconds: float = 0.0, breaks_at: int = -1) -> None:
        self.tokens: list[int] = []
        self.evaluated: list[int] = []  # how many tokens each call had
        self.seconds, self.breaks_at = seconds, breaks_at

    def eval(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        time.sleep(self.seconds)
        if self.breaks_at in tokens:
            raise RuntimeError("the model broke")
        self.tokens += tokens
        self.evaluated.append(len(tokens))
        logits = np.zeros(VOCAB, np.float32)
        logits[next_token(self.tokens)] = 1
        return logits

    def rewind(self, n_past: int) -> None:
        assert n_past <= len(self.tokens)
        del self.tokens[n_past:]


def next_token(tokens: Sequence[int]) -> int:
    """The letter that follows tokens; `#` is followed by the end."""
    if tokens[-1] == ord("#"):
        return END
    return ord("a") + sum((i + 1) * token for i, token in enumerate(tokens)) % MODULUS


def continued(prompt: str, n: int) -> str:
    """The continuation of a prompt by n tokens, worked out anew."""
    tokens = [BEGIN, *prompt.encode()]
    for _ in range(n):
        tokens.append(next_token(tokens))
    return bytes(tokens[-n:]).decode()


class FakeTokenizer:
    """Bytes are tokens."""

    bos = BEGIN

    def encode(self, text: str, begin: bool = True, special: bool = True) -> list[int]:
        return [BEGIN] * begin + list(text.encode())

    def piece(self, token: int, first: bool = False, special: bool = False) -> bytes:
        return bytes([token]).lstrip(b" " if first else b"") if token < BEGIN else b""

    def is_end(self, token: int) -> bool:
        return token == END


class FakeSampler:
    """The likeliest token."""

    def next(self, logits: NDArray[np.float32]) -> int:
        return int(logits.argmax())


class Script(FakeModel):
    """A model that says the same tokens behind every prompt."""

    def __init__(self, says: bytes, prompt: int) -> None:
        super().__init__()
        self.says, self.prompt = [*says, END], prompt

    def eval(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        logits = super().eval(tokens)
        logits[:] = 0
        logits[self.says[len(self.tokens) - self.prompt]] = 1
        return logits
