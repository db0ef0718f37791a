"""A container's model and tokenizer, opened to write texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgecomp.generation.generate import Limits, Piece, check_prompt, generate
from edgecomp.generation.interfaces import Sampler, Tokenizer
from edgecomp.generation.sampling import Sampling
from edgecomp.generation.token_cache import TokenCache

__all__ = ["Engine"]


@dataclass(frozen=True)
class Engine:
    """What writes texts. One text at a time; the tokenizer may be used meanwhile."""

    name: str
    cache: TokenCache
    tokenizer: Tokenizer
    new_sampler: Callable[[Sampling], Sampler]
    n_vocab: int

    def check(self, prompt: Sequence[int]) -> None:
        """PromptError unless the prompt can be continued."""
        check_prompt(prompt, self.cache.n_context)

    def write(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        limits: Limits,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Piece]:
        """The pieces of a prompt's continuation (see `generate`)."""
        sampler = self.new_sampler(sampling)
        yield from generate(self.cache, self.tokenizer, sampler, prompt, limits, stopped)
