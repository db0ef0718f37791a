"""A container's model and tokenizer, over the C runtime."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecomp.generation.engine import Engine
from edgecomp.generation.interfaces import Sampler
from edgecomp.generation.open_model import map_file, open_model
from edgecomp.generation.sampling import Sampling
from edgecomp.generation.token_cache import TokenCache
from runtime_ops.native_model import ModelError, ModelOptions
from runtime_ops.native_tokenizer import NativeSampler, NativeTokenizer

__all__ = ["open_engine"]


@contextmanager
def open_engine(path: Path, options: ModelOptions) -> Iterator[Engine]:
    """The engine of a container, until the block ends. OSError; ModelError when none can run."""
    data = map_file(path)
    with open_model(path, data, options) as model:
        tokenizer = open_tokenizer(path, data)
        info = model.info

        def new_sampler(sampling: Sampling) -> Sampler:
            return NativeSampler(
                info.n_vocab,
                sampling.temperature,
                sampling.top_k,
                sampling.top_p,
                sampling.min_p,
                sampling.seed,
            )

        cache = TokenCache(model, info.n_context)
        yield Engine(path.stem, cache, tokenizer, new_sampler, info.n_vocab)


class ModelTokenizer(NativeTokenizer):
    """A tokenizer for a model that may know more tokens: those stand for no text."""

    def piece(self, token: int, first: bool = False, special: bool = False) -> bytes:
        """Bytes of a token."""
        return super().piece(token, first, special) if token < len(self) else b""


def open_tokenizer(path: Path, data: mmap.mmap) -> ModelTokenizer:
    """The tokenizer of a mapped container; a ModelError names the file."""
    try:
        return ModelTokenizer(data)
    except ModelError as error:
        raise ModelError(f"{path}: {error}", error.hint) from error
