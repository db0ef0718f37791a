"""Tokenizers of containers with changed keys: used as they are, or one line why not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgecomp.checkpoint.tokenizer import tokenizer_keys
from exporters.bundle import MetadataValue
from runtime_ops.native_model import ModelError
from runtime_ops.native_tokenizer import NativeTokenizer
from tests.runtime_ops.small_tokenizers import DATA, UNICODE, container

WORD = (1 << 64) - 1
PREFIX = "tokenizer.ggml."
SHIPPED = tokenizer_keys(DATA / "bookworm", None)
LLAMA: dict[str, MetadataValue] = {
    "model": "llama",
    "tokens": ["<unk>", "<s>", "<", "s", ">", "s>", "<0x41>", "\u2581", "\u2581s"],
    "token_type": [2, 3, 1, 1, 1, 1, 6, 1, 1],
    "scores": [-float(i) for i in range(9)],
    "add_space_prefix": False,
}


def changed(**keys: MetadataValue | None) -> bytes:
    """A container with the shipped tokenizer's keys but for these; None leaves one out."""
    all_keys = {**SHIPPED, **{PREFIX + name: value for name, value in keys.items()}}
    return container({key: value for key, value in all_keys.items() if value is not None})


def llama(**keys: MetadataValue | None) -> bytes:
    """The same of a small SentencePiece tokenizer."""
    everything = {PREFIX + name: value for name, value in {**LLAMA, **keys}.items()}
    return container({key: value for key, value in everything.items() if value is not None})


def elements(name: str) -> list[str]:
    value = SHIPPED[PREFIX + name]
    assert isinstance(value, list)
    return [str(element) for element in value]


TOKENS, MERGES = elements("tokens"), elements("merges")
TYPES = [int(kind) for kind in elements("token_type")]


def slot(text: bytes, n_slots: int) -> int:
    """Where csrc/runner/token_tables.c looks for a text first."""
    hash_ = 0x9E3779B97F4A7C15
    for byte in text:
        hash_ = (hash_ ^ byte) * 0x100000001B3 & WORD
    hash_ = (hash_ ^ hash_ >> 32) * 0xD6E8FEB86659FD93 & WORD
    return (hash_ ^ hash_ >> 32) % n_slots


def test_tokens_that_were_made_to_collide_are_told() -> None:
    """Every search for a text would go through all of them."""
    texts = (f"{i:x}" for i in itertools.count())
    alike = [*itertools.islice((t for t in texts if slot(t.encode(), 1024) == 7), 400)]
    for n in (100, 129, 400):
        tokens = alike[:n] + [f"other {i}" for i in range(400 - n)]
        data = llama(tokens=tokens, token_type=[1] * 400, scores=[0.0] * 400)
        if n == 100:
            native = NativeTokenizer(data)
            assert [native.piece(i) for i in (0, 99)] == [alike[i].encode() for i in (0, 99)]
            continue
        with pytest.raises(ModelError, match="tokens: too many that look alike"):
            NativeTokenizer(data)


def test_a_token_without_end_is_told() -> None:
    tokens = [*TOKENS[:-1], "x" * 1024]
    native = NativeTokenizer(changed(tokens=tokens, merges=["t h"]))
    assert native.piece(len(tokens) - 1) == b"x" * 1024
    with pytest.raises(ModelError, match="tokens: one has more than 1024 bytes"):
        NativeTokenizer(changed(tokens=[*TOKENS[:-1], "x" * 1025]))


def test_merges_make_no_special_tokens_of_text() -> None:
    native = NativeTokenizer(llama())
    assert native.encode("<s>s>", begin=False, special=False) == [2, 5, 5]
    assert native.encode("<s>s>", begin=False) == [1, 5]
    assert native.encode("A<A", begin=False, special=False) == [6, 2, 6]


def test_unknown_token_without_its_key_is_the_one_of_its_type() -> None:
    types: list[int] = [1, 3, 2, 1, 1, 1, 6, 1, 1]
    assert NativeTokenizer(llama(token_type=types)).encode("\u4e2d", begin=False) == [2]
    assert NativeTokenizer(llama(token_type=[1, *types[1:2], *[1] * 7])).encode("\u4e2d") == []


def test_unknown_characters_in_a_row_are_one_token() -> None:
    for keys in (llama(), llama(unknown_token_id=0)):
        assert NativeTokenizer(keys).encode("s\u4e2d\u6587s\u4e2d", begin=False) == [3, 0, 3, 0]


def test_a_space_is_put_before_a_text() -> None:
    native = NativeTokenizer(llama(add_space_prefix=True))
    assert native.encode("s", begin=False) == [8]
    assert (native.piece(8, first=True), native.piece(8)) == (b"s", b" s")
    assert (native.decode([8, 8]), native.decode([7, 8])) == ("s s", " s")


@pytest.mark.parametrize("token", ["", "a", "\u0120the", "x" * 100])
def test_tokens_that_are_alike(token: str) -> None:
    """Any number of them: the first is what the text becomes."""
    data = changed(tokens=TOKENS + [token] * 100_000, token_type=TYPES + [1] * 100_000)
    plain, native = NativeTokenizer(changed()), NativeTokenizer(data)
    assert len(native) == len(TOKENS) + 100_000
    for text in UNICODE:
        assert native.encode(text) == plain.encode(text)


def test_merges_that_are_alike() -> None:
    plain = NativeTokenizer(changed())
    native = NativeTokenizer(changed(merges=[*MERGES, *MERGES[::-1], *[MERGES[0]] * 100_000]))
    for text in UNICODE:
        assert native.encode(text) == plain.encode(text)


def test_the_largest_vocabulary() -> None:
    rest = [f"[PAD{i}]" for i in range((1 << 20) - len(TOKENS))]
    native = NativeTokenizer(changed(tokens=TOKENS + rest, token_type=TYPES + [5] * len(rest)))
    assert len(native) == 1 << 20
    assert native.encode("the end") == NativeTokenizer(changed()).encode("the end")


def test_a_token_that_is_not_of_the_alphabet_stands_for_itself() -> None:
    tokens = [*TOKENS, "\u0120\u4e2d", "\u0120\u0120x", "\u0120x"]
    native = NativeTokenizer(changed(tokens=tokens, token_type=[*TYPES, 1, 1, 4]))
    pieces = [native.piece(len(TOKENS) + i) for i in range(3)]
    assert pieces == ["\u0120\u4e2d".encode(), b"  x", "\u0120x".encode()]


def test_ends() -> None:
    names = ["<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "</s>", "<|other|>"]
    kinds = {3: [0, *range(len(TOKENS), len(TOKENS) + 5)], 1: [0]}
    for kind, ends in kinds.items():
        data = changed(tokens=TOKENS + names, token_type=TYPES + [kind] * 6)
        native = NativeTokenizer(data)
        assert [token for token in range(len(native)) if native.is_end(token)] == ends
        assert not native.is_end(-1)
        assert not native.is_end(int(np.uint32(0xFFFFFFFF)))
