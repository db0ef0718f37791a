"""The Llama forward pass in C: the reference's bits, whatever the threads, batches and kernels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from exporters.bundle import MetadataValue
from runtime_ops import native
from runtime_ops.formats import EncodedTensor
from runtime_ops.native_model import ModelError, ModelOptions, NativeModel
from runtime_ops.reference.llama import KV, Session, llama
from tests.runtime_ops.random_models import (
    N_CONTEXT,
    N_VOCAB,
    VARIATIONS,
    Variation,
    model_keys,
    random_model,
    write_model,
)

CHEAP = VARIATIONS[0]


@dataclass(frozen=True)
class Step:
    """Tokens that are evaluated after the first `kept` ones, or all, and the logits behind them."""

    kept: int | None
    tokens: tuple[int, ...]
    logits: NDArray[np.float32]


def steps(keys: dict[str, MetadataValue], tensors: dict[str, EncodedTensor], kv: KV) -> list[Step]:
    """A prompt, single tokens, a rewind, then more tokens than a tile of attention has."""
    rng = np.random.default_rng(len(tensors))
    session = Session(llama(keys, tensors.get), kv)
    found = []
    for kept, n in ((None, 9), (None, 1), (None, 1), (5, 1), (4, 45), (None, 1)):
        if kept is not None:
            session.rewind(kept)
        tokens = tuple(rng.integers(0, N_VOCAB, n).tolist())
        found.append(Step(kept, tokens, session.eval(tokens)))
    return found


def bits(logits: NDArray[np.float32]) -> list[int]:
    """The logits' bits; nothing here may be NaN."""
    assert np.isfinite(logits).all()
    return logits.view(np.uint32).tolist()


@pytest.mark.parametrize("kv", ["f16", "int8"])
@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda v: v.name)
def test_bits_of_the_reference(variation: Variation, kv: KV, tmp_path: Path) -> None:
    """Every codec and kind of layer, each with all instruction sets, threads and batches."""
    keys, tensors = model_keys(variation), random_model(variation)
    data = write_model(tmp_path / "m.gguf", keys, tensors)
    expected = steps(keys, tensors, kv)
    assert 0.3 < expected[0].logits.std() < 30
    for isa in native.instruction_sets():
        for threads, batch in ((1, 128), (1, 1), (2, 7), (3, 128), (3, 2)):
            how = ModelOptions(threads=threads, batch=batch, kv=kv, isa=isa)
            with NativeModel(data, how) as model:
                for step in expected:
                    if step.kept is not None:
                        model.rewind(step.kept)
                    logits = model.eval(step.tokens)
                    assert bits(logits) == bits(step.logits), f"{how} at {model.past}"


def test_info_and_profile(tmp_path: Path) -> None:
    keys, tensors = model_keys(CHEAP), random_model(CHEAP)
    data = write_model(tmp_path / "m.gguf", keys, tensors)
    with NativeModel(data, ModelOptions(threads=2, context=48)) as model:
        info = model.info
        assert (info.n_layers, info.d_model, info.d_ff, info.n_vocab) == (2, 64, 96, N_VOCAB)
        assert (info.n_heads, info.n_kv_heads, info.d_head) == (4, 4, 16)
        assert (info.n_context, info.n_context_made, info.n_threads) == (48, N_CONTEXT, 2)
        assert info.n_weights == sum(tensor.n_weights for tensor in tensors.values())
        assert info.kv_bytes == 2 * 2 * 48 * 64 * 2
        floats = sum(4 * tensor.n_weights for tensor in tensors.values())
        assert info.token_bytes == floats
        assert model.profile() == dict.fromkeys(model.profile(), 0)
        model.eval([1, 2, 3])
        assert all(ns > 0 for ns in model.profile().values())
        model.reset_profile()
        assert sum(model.profile().values()) == 0


def test_tokens_that_cannot_be_taken(tmp_path: Path) -> None:
    """Nothing is added when a call fails; a closed model says so."""
    data = write_model(tmp_path / "m.gguf", model_keys(CHEAP), random_model(CHEAP))
    model = NativeModel(data, ModelOptions(threads=1, context=4))
    model.eval([1, 2])
    with pytest.raises(ModelError, match="token 50, expected less than 50") as caught:
        model.eval([3, N_VOCAB])
    assert caught.value.hint
    with pytest.raises(ModelError, match="3 tokens do not fit behind 2 in a context of 4"):
        model.eval([1, 2, 3])
    with pytest.raises(ModelError, match="no tokens to evaluate"):
        model.eval([])
    with pytest.raises(ModelError, match="expected 32 bits"):
        model.eval([-1])
    assert model.past == 2
    model.rewind(7)
    assert model.past == 2
    model.close()
    with pytest.raises(ValueError, match="closed"):
        model.eval([1])
    model.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ModelOptions(context=1 << 21), "context of 2097152 tokens, expected at most 1048576"),
        (ModelOptions(batch=513), "batch of 513 tokens, expected at most 512"),
        (ModelOptions(threads=65), "65 threads, expected at most 64"),
    ],
)
def test_options_out_of_range(options: ModelOptions, message: str, tmp_path: Path) -> None:
    data = write_model(tmp_path / "m.gguf", model_keys(CHEAP), random_model(CHEAP))
    with pytest.raises(ModelError, match=message):
        NativeModel(data, options)
    with pytest.raises(ModelError, match="not a GGUF file"):
        NativeModel(b"x" * 100)
    with pytest.raises(ValueError, match="instruction set is 'mmx', expected one of"):
        NativeModel(data, ModelOptions(isa="mmx"))
    with pytest.raises(ValueError, match="kv is 'q8', expected one of"):
        NativeModel(data, ModelOptions(kv=cast(Any, "q8")))
