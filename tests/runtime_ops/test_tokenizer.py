"""The C tokenizer against Hugging Face's, token for token, and texts that come back."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime_ops.native_model import ModelError
from runtime_ops.native_tokenizer import NativeTokenizer
from tests.runtime_ops.small_tokenizers import (
    NAMES,
    UNICODE,
    SmallTokenizer,
    container,
    known_text,
    small_tokenizer,
)

# Hugging Face's library has tables of its own: only characters that every version knows.
KNOWN = [c for c in map(chr, range(0x20000)) if unicodedata.ucd_3_2_0.category(c)[0] != "C"]
MIXED = "ab'sS tTlLrRvVeEdDmM\n\r\t 1234,.!?<|>_-é中🙂\u00a0\u3000\u0301ſ’"
SPECIAL = (
    "<|end|>", "a<|end|>b", "<|end|> <|end|>\n", "<|end|>>x<|end|>>>", "<|en<|end|>d|>", "<|x|><|y",
    "STOP", "STOPPED stop STOP", "<think> a </think>", " <think><think>", "<s>", "</s>a <s>b</s>",
    "<unk>", "<|endoftext|>", "a<|endoftext|><|endoftext|> b", "<0x41>", "<|im_start|>",
)  # fmt: skip


@pytest.fixture(scope="module", params=NAMES)
def small(request: pytest.FixtureRequest) -> SmallTokenizer:
    return small_tokenizer(request.param)


@pytest.fixture(scope="module")
def native(small: SmallTokenizer) -> NativeTokenizer:
    return NativeTokenizer(small.data)


def same(small: SmallTokenizer, native: NativeTokenizer, text: str, special: bool = True) -> None:
    """Fails where the tokens differ first."""
    expected, found = small.ids(text, special), native.encode(text, False, special)
    if found == expected:
        return
    at = next((i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), 0)
    near = slice(max(0, at - 3), at + 5)
    names = [[small.model.id_to_token(i) for i in ids[near]] for ids in (expected, found)]
    pytest.fail(f"{text[:80]!r}, token {at}: expected {names[0]}, found {names[1]}")


def test_sizes_and_special_tokens(small: SmallTokenizer, native: NativeTokenizer) -> None:
    assert len(native) == small.model.get_vocab_size()
    assert native.eos is not None
    assert native.is_end(native.eos)
    assert not native.is_end(len(native) - 1)
    assert (native.bos == 1) == (small.name == "sentencepiece")


def test_prose(small: SmallTokenizer, native: NativeTokenizer) -> None:
    same(small, native, known_text())


@pytest.mark.parametrize("i", range(len(UNICODE)))
def test_characters_of_all_kinds(small: SmallTokenizer, native: NativeTokenizer, i: int) -> None:
    same(small, native, UNICODE[i])
    for start in range(0, len(UNICODE[i]), 7):
        for n in (1, 2, 3, 5, 8):
            same(small, native, UNICODE[i][start : start + n])


def test_short_texts(small: SmallTokenizer, native: NativeTokenizer) -> None:
    for text in (
        "",
        " ",
        "  ",
        "   ",
        "a",
        " a",
        "a ",
        "\n",
        "\n\n",
        " \n",
        "\n ",
        "'s",
        " 's",
        "1",
    ):
        same(small, native, text)


def test_random_texts(small: SmallTokenizer, native: NativeTokenizer) -> None:
    random_ = random.Random(20261122)
    for n in (2, 3, 5, 10, 30) * 40 + (5000,):
        same(small, native, "".join(random_.choices(MIXED, k=n)))
        same(small, native, "".join(random_.choices(KNOWN, k=n)))


@pytest.mark.parametrize("special", [True, False])
def test_special_tokens_in_texts(
    small: SmallTokenizer, native: NativeTokenizer, special: bool
) -> None:
    for text in SPECIAL:
        same(small, native, text, special)
        same(small, native, f"some {text} words{text}", special)


def test_control_tokens_are_never_made_of_text(native: NativeTokenizer) -> None:
    """What is written in a prompt must not speak for the model."""
    controls = {
        i for i in range(len(native)) if not native.piece(i) and native.piece(i, special=True)
    }
    assert controls
    for control in controls:
        text = native.piece(control, special=True).decode()
        for spelled in (text, f" {text}", f"{text}{text}", f"a{text} b"):
            assert not controls & {*native.encode(spelled, begin=False, special=False)}


@pytest.mark.parametrize(
    "data",
    [
        b"\xff", b"a\x80b", b"\xc0\xaf", b"\xe2\x82", b"\xe2\x82A", b"\xf0\x9f\x98",
        b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xc3",
        b"ok\xe4\xb8\xadok\xe4\xb8", bytes(range(256)),
    ],
)  # fmt: skip
def test_bytes_that_are_not_utf8(native: NativeTokenizer, data: bytes) -> None:
    for text in (data, data * 3, b"before " + data + b" behind"):
        assert native.encode(text) == native.encode(text.decode(errors="replace"))


def test_random_bytes(native: NativeTokenizer) -> None:
    random_ = random.Random(7)
    for _ in range(300):
        data = random_.randbytes(random_.randrange(40))
        assert native.encode(data) == native.encode(data.decode(errors="replace"))


def text_of(native: NativeTokenizer, tokens: list[int]) -> str:
    pieces = {token: native.piece(token) for token in {*tokens}}
    first = native.piece(tokens[0], first=True) if tokens else b""
    return (first + b"".join(pieces[token] for token in tokens[1:])).decode()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\u2581")))
def test_texts_come_back(small: SmallTokenizer, native: NativeTokenizer, text: str) -> None:
    tokens = native.encode(text, begin=False, special=False)
    assert text_of(native, tokens) == text
    assert native.decode(tokens) == text
    assert all(token < len(native) for token in tokens)


def test_known_text_comes_back(native: NativeTokenizer) -> None:
    assert text_of(native, native.encode(known_text(), begin=False)) == known_text()


def test_control_tokens_have_no_bytes(small: SmallTokenizer, native: NativeTokenizer) -> None:
    assert native.eos is not None
    assert native.piece(native.eos) == b""
    assert native.piece(native.eos, special=True).decode() == small.model.id_to_token(native.eos)
    with pytest.raises(ValueError, match="expected 0 to"):
        native.piece(len(native))


def test_begin_is_put_where_the_model_wants_it(
    small: SmallTokenizer, native: NativeTokenizer
) -> None:
    for text in ("", "a", " a b"):
        assert native.encode(text) == small.model.encode(text).ids
    assert (native.encode("")[:1] == [native.bos]) == (small.name == "sentencepiece")


@pytest.mark.parametrize(
    "text", ["a" * 10**6, "ab " * 333_333, "<" * 10**6, " " * 10**6, "\n" * 10**6]
)
def test_long_texts_take_no_longer(native: NativeTokenizer, text: str) -> None:
    """Quadratic time would be hours here."""
    assert text_of(native, native.encode(text, begin=False)) == text


def test_long_word(small: SmallTokenizer, native: NativeTokenizer) -> None:
    random_ = random.Random(3)
    word = "".join(random_.choices("etaoinshrdlu", k=300_000))
    same(small, native, word)


def test_no_tokenizer_is_told() -> None:
    with pytest.raises(ModelError, match="no tokenizer") as error:
        NativeTokenizer(container({}))
    assert "tokenizer.json" in error.value.hint
    with pytest.raises(ModelError, match="ends before"):
        NativeTokenizer(b"GGUF")
