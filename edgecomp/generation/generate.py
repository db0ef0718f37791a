"""A prompt continued by a model, piece by piece."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from edgecomp.generation.interfaces import Sampler, Tokenizer
from edgecomp.generation.text_stream import TextStream
from edgecomp.generation.token_cache import TokenCache

__all__ = ["Ending", "Limits", "Piece", "PromptError", "Reason", "check_prompt", "generate"]


class PromptError(ValueError):
    """A prompt that cannot be continued; `hint` is what may help."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Reason(StrEnum):
    """Why a text ends."""

    END = "end"  # the model ended it
    STOP = "stop"  # a stop string came
    LENGTH = "length"  # as many tokens as were asked for
    CONTEXT = "context"  # the cache is full
    STOPPED = "stopped"  # nobody wants it any more


@dataclass(frozen=True)
class Limits:
    """Where a text ends at the latest."""

    max_tokens: int
    stop: tuple[str, ...] = ()  # not empty strings
    ignore_end: bool = False  # tokens that end a text are taken as others


@dataclass(frozen=True)
class Ending:
    """What a text took."""

    reason: Reason
    tokens: tuple[int, ...]  # generated, without the one that ended the text
    prompt_tokens: int
    kept_tokens: int  # of the prompt, which were in the cache
    prompt_seconds: float
    generate_seconds: float

    @property
    def prompt_rate(self) -> float:
        """Prompt tokens read a second."""
        return (self.prompt_tokens - self.kept_tokens) / max(self.prompt_seconds, 1e-9)

    @property
    def generate_rate(self) -> float:
        """Tokens a second; the first one comes with the prompt."""
        return max(0, len(self.tokens) - 1) / max(self.generate_seconds, 1e-9)


@dataclass(frozen=True)
class Piece:
    """Some text, maybe empty; the last piece has an ending."""

    text: str
    ending: Ending | None = None


def generate(
    cache: TokenCache,
    tokenizer: Tokenizer,
    sampler: Sampler,
    prompt: Sequence[int],
    limits: Limits,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Piece]:
    """The pieces of a prompt's continuation.

    `stopped` is asked before each token, and now and then within the prompt. Raises PromptError for
    a prompt that is empty or longer than the context, and what the model and the sampler raise.
    """
    check_prompt(prompt, cache.n_context)
    start = time.perf_counter()
    kept = cache.restart(prompt)
    logits = cache.read(prompt[kept:], stopped)
    read = time.perf_counter()
    begins = list(prompt) == [tokenizer.bos]  # the text, with its first token
    text = TextStream(limits.stop)
    tokens: list[int] = []
    reason = None
    while reason is None:
        if logits is None:
            reason = Reason.STOPPED
            break
        token = sampler.next(logits)
        if tokenizer.is_end(token) and not limits.ignore_end:
            reason = Reason.END
            break
        tokens.append(token)
        shown = text.add(tokenizer.piece(token, first=begins and len(tokens) == 1))
        if shown:
            yield Piece(shown)
        reason = reached(limits, text, len(tokens), cache)
        logits = cache.read([token], stopped) if reason is None else None
    seconds = read - start, time.perf_counter() - read
    yield Piece(text.finish(), Ending(reason, tuple(tokens), len(prompt), kept, *seconds))


def reached(limits: Limits, text: TextStream, n_tokens: int, cache: TokenCache) -> Reason | None:
    """The limit that a text has come to; None: it goes on."""
    if text.stopped:
        return Reason.STOP
    if n_tokens >= limits.max_tokens:
        return Reason.LENGTH
    return Reason.CONTEXT if cache.is_full else None


def check_prompt(prompt: Sequence[int], n_context: int) -> None:
    """PromptError unless a prompt has tokens, and no more than the context holds."""
    if not prompt:
        raise PromptError("the prompt is empty", "this model starts from a text: give it one")
    if len(prompt) > n_context:
        raise PromptError(
            f"the prompt has {len(prompt)} tokens, expected at most {n_context}",
            "--context N keeps more tokens",
        )
