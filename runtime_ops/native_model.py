"""A language model of a container, run by the C library (csrc/runner.h)."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from runtime_ops._native import ffi, lib
from runtime_ops.native_tensor import CData

__all__ = ["ModelError", "ModelInfo", "ModelOptions", "NativeModel"]

KV = Literal["f16", "int8"]


class ModelError(ValueError):
    """A model that cannot be run, or tokens that it cannot take; `hint` is what may help."""

    def __init__(self, text: str, hint: str) -> None:
        super().__init__(text)
        self.hint = hint


@dataclass(frozen=True)
class ModelInfo:
    """Sizes of a model that is open, named as in csrc/runner.h."""

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_ff: int
    n_vocab: int
    n_context: int
    n_context_made: int
    n_threads: int
    n_weights: int
    token_bytes: int
    kv_bytes: int
    work_bytes: int


@dataclass(frozen=True)
class ModelOptions:
    """How a model is run; 0 leaves a number to the library, None the instruction set.

    `context` and `batch` in tokens: those that the cache holds, those evaluated together.
    """

    threads: int = 0
    context: int = 0
    batch: int = 0
    kv: KV = "f16"
    isa: str | None = None
    pin: bool = False


class NativeModel:
    """A language model in a container that lies in memory, with the tokens that it has seen.

    `data` is bytes or a mapped file, and must not change. Close it, or use it in a `with`; not for
    several threads at a time. ModelError when it is no model that can be run.
    """

    def __init__(
        self, data: bytes | mmap.mmap | memoryview, options: ModelOptions | None = None
    ) -> None:
        options = options or ModelOptions()
        self._data = ffi.from_buffer(data)
        chosen = ffi.new("ec_model_options *")
        chosen.n_context = options.context
        chosen.n_threads = options.threads
        chosen.pin = int(options.pin)
        chosen.n_batch = options.batch
        chosen.kv = _kv(options.kv)
        chosen.isa = _isa(options.isa)
        why = ffi.new("ec_message *")
        self._model = lib.ec_model_open(self._data, len(self._data), chosen, why)
        if self._model == ffi.NULL:
            raise _error(why)
        self._model = ffi.gc(self._model, lib.ec_model_free)
        self._n_vocab = self.info.n_vocab

    @property
    def info(self) -> ModelInfo:
        """Sizes of the model and of its memory."""
        info = ffi.new("ec_model_info *")
        lib.ec_model_info_get(self._open(), info)
        return ModelInfo(*(int(getattr(info, name)) for name in ModelInfo.__annotations__))

    @property
    def past(self) -> int:
        """Number of tokens so far."""
        return int(lib.ec_model_past(self._open()))

    def eval(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Logits behind the last of some tokens, float32 (n_vocab,); adds them to those so far.

        ModelError for a token outside the vocabulary, or a full context; then none is added.
        """
        model = self._open()
        if any(not 0 <= token < 1 << 32 for token in tokens):
            raise ModelError(f"tokens are {min(tokens)} to {max(tokens)}, expected 32 bits", "")
        logits = np.empty(self._n_vocab, np.float32)
        buffer = ffi.new("uint32_t[]", list(tokens))
        why = ffi.new("ec_message *")
        out = ffi.from_buffer("float[]", logits)
        if not lib.ec_model_eval(model, buffer, len(tokens), out, why):
            raise _error(why)
        return logits

    def rewind(self, n_past: int) -> None:
        """Keeps the first n_past tokens."""
        if n_past < 0:
            raise ValueError(f"n_past is {n_past}, expected at least 0")
        lib.ec_model_rewind(self._open(), min(n_past, self.past))

    def profile(self) -> dict[str, int]:
        """Nanoseconds since the last reset by kind of work."""
        ns = ffi.new("uint64_t[]", lib.EC_PART_COUNT)
        lib.ec_model_profile(self._open(), ns)
        names = [bytes(ffi.string(lib.ec_part_name(i))).decode() for i in range(len(ns))]
        return {name: int(value) for name, value in zip(names, ns, strict=True)}

    def reset_profile(self) -> None:
        """Sets all of `profile` to 0."""
        lib.ec_model_profile_reset(self._open())

    def close(self) -> None:
        """Gives threads and memory back; the model cannot be used any more."""
        if self._model != ffi.NULL:
            ffi.release(self._model)
        self._model = ffi.NULL

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> CData:
        if self._model == ffi.NULL:
            raise ValueError("the model is closed")
        return self._model


def _kv(name: str) -> int:
    kinds = {"f16": lib.EC_KV_F16, "int8": lib.EC_KV_I8}
    if name not in kinds:
        raise ValueError(f"kv is {name!r}, expected one of {list(kinds)}")
    return int(kinds[name])


def _isa(name: str | None) -> int:
    if name is None:
        return int(lib.EC_ISA_BEST)
    names = [bytes(ffi.string(lib.ec_isa_name(i))).decode() for i in range(lib.EC_ISA_COUNT)]
    if name not in names:
        raise ValueError(f"instruction set is {name!r}, expected one of {names}")
    return names.index(name)


def _error(why: CData) -> ModelError:
    return ModelError(bytes(ffi.string(why.text)).decode(), bytes(ffi.string(why.hint)).decode())
