"""Tokens of texts, and the choice of the next token, by the C library (csrc/runner.h)."""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray

from runtime_ops._native import ffi, lib
from runtime_ops.native_model import ModelError

__all__ = ["NativeSampler", "NativeTokenizer"]

NO_TOKEN = (1 << 32) - 1  # EC_NO_TOKEN


class NativeTokenizer:
    """The tokenizer of a container that lies in memory.

    `data` is bytes or a mapped file, and must not change. Threads may share it. ModelError when the
    container has no tokenizer that can be used.
    """

    def __init__(self, data: bytes | mmap.mmap | memoryview) -> None:
        self._data = ffi.from_buffer(data)
        why = ffi.new("ec_message *")
        opened = lib.ec_tokenizer_open(self._data, len(self._data), why)
        if opened == ffi.NULL:
            text, hint = (bytes(ffi.string(part)).decode() for part in (why.text, why.hint))
            raise ModelError(text, hint)
        self._tokenizer = ffi.gc(opened, lib.ec_tokenizer_free)

    def __len__(self) -> int:
        """Number of tokens of the vocabulary."""
        return int(lib.ec_tokenizer_size(self._tokenizer))

    @property
    def bos(self) -> int | None:
        """The token that begins a text."""
        return _token(lib.ec_tokenizer_bos(self._tokenizer))

    @property
    def eos(self) -> int | None:
        """The token that ends a text."""
        return _token(lib.ec_tokenizer_eos(self._tokenizer))

    def encode(self, text: str | bytes, begin: bool = True, special: bool = True) -> list[int]:
        """Tokens of a text; bytes that are not UTF-8 count as U+FFFD, as lone surrogates do.

        `begin`: behind the token that begins a text, if the model wants it. `special`: texts of
        control tokens become those tokens. MemoryError for a text of 256 MiB.
        """
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        room = len(data) + 4  # rarely more: spaces that are put before, bytes that are replaced
        while True:
            tokens = np.empty(room, np.uint32)
            buffer = ffi.from_buffer("uint32_t[]", tokens)
            n = lib.ec_tokenizer_encode(
                self._tokenizer, data, len(data), begin, special, buffer, room
            )
            if n >= 1 << 31:
                raise MemoryError(f"a text of {len(data)} bytes")
            if n <= room:
                return [int(token) for token in tokens[:n]]
            room = n

    def decode(self, tokens: list[int], special: bool = False) -> str:
        """The text of tokens; bytes that are no character become U+FFFD."""
        pieces = (self.piece(token, i == 0, special) for i, token in enumerate(tokens))
        return b"".join(pieces).decode(errors="replace")

    def piece(self, token: int, first: bool = False, special: bool = False) -> bytes:
        """Bytes of a token, maybe a part of a character; none for a control token.

        `first`: it is the first of a text, where SentencePiece drops a space; `special`: control
        tokens have their names for bytes. ValueError for a token outside the vocabulary.
        """
        if not 0 <= token < len(self):
            raise ValueError(f"token is {token}, expected 0 to {len(self) - 1}")
        room = lib.ec_tokenizer_piece(self._tokenizer, token, first, special, ffi.NULL, 0)
        out = ffi.new("char[]", room)
        lib.ec_tokenizer_piece(self._tokenizer, token, first, special, out, room)
        return bytes(ffi.buffer(out, room))

    def is_end(self, token: int) -> bool:
        """Whether a text, or a turn of a conversation, ends with this token."""
        return 0 <= token < len(self) and bool(lib.ec_tokenizer_is_end(self._tokenizer, token))


class NativeSampler:
    """Chooses tokens as reference.sampling specifies; ModelError for settings out of range."""

    def __init__(
        self,
        n_vocab: int,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 0,
    ) -> None:
        settings = ffi.new("ec_sampling *")
        settings.temperature = temperature
        settings.top_k = top_k
        settings.top_p = top_p
        settings.min_p = min_p
        settings.seed = seed
        why = ffi.new("ec_message *")
        made = lib.ec_sampler_new(settings, n_vocab, why)
        if made == ffi.NULL:
            raise ModelError(bytes(ffi.string(why.text)).decode(), "")
        self._n_vocab = n_vocab
        self._sampler = ffi.gc(made, lib.ec_sampler_free)

    def next(self, logits: NDArray[np.float32]) -> int:
        """The token that follows, by the logits, float32 (n_vocab,).

        ValueError for logits of another shape; ModelError when they hold NaN.
        """
        if logits.shape != (self._n_vocab,):
            raise ValueError(f"logits have shape {logits.shape}, expected ({self._n_vocab},)")
        logits = np.ascontiguousarray(logits, np.float32)
        token = _token(lib.ec_sampler_next(self._sampler, ffi.from_buffer("float[]", logits)))
        if token is None:
            raise ModelError("the model's results are not numbers", "the file is damaged")
        return token


def _token(token: int) -> int | None:
    return None if token == NO_TOKEN else int(token)
