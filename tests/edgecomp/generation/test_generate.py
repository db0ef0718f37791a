"""Pieces, limits and kept tokens, with a model that can be followed by hand."""

from __future__ import annotations

import itertools

import pytest

from edgecomp.generation import Ending, Limits, PromptError, Reason, TextStream, TokenCache
from edgecomp.generation.generate import generate
from tests.edgecomp.generation.fake_model import (
    BEGIN,
    END,
    FakeModel,
    FakeSampler,
    FakeTokenizer,
    Script,
    continued,
)

TOKENIZER, SAMPLER = FakeTokenizer(), FakeSampler()


def write(
    cache: TokenCache, prompt: str, limits: Limits, n_before: int = 1 << 30
) -> tuple[list[str], Ending]:
    """The pieces of a text and its ending; `n_before` looks at `stopped` say no."""
    looks = itertools.count()
    pieces = list(
        generate(
            cache, TOKENIZER, SAMPLER, TOKENIZER.encode(prompt), limits,
            lambda: next(looks) >= n_before,
        )
    )  # fmt: skip
    assert all(piece.ending is None for piece in pieces[:-1])
    assert all(piece.text for piece in pieces[:-1])
    ending = pieces[-1].ending
    assert ending is not None
    return [piece.text for piece in pieces], ending


def test_pieces_come_token_by_token() -> None:
    texts, ending = write(TokenCache(FakeModel(), 100), "abc", Limits(5))
    assert texts == [*continued("abc", 5), ""]
    assert bytes(ending.tokens).decode() == continued("abc", 5)
    assert (ending.reason, ending.prompt_tokens, ending.kept_tokens) == (Reason.LENGTH, 4, 0)


def test_end_tokens() -> None:
    cache = TokenCache(FakeModel(), 100)
    assert write(cache, "abc#", Limits(5))[1].tokens == ()
    assert write(cache, "abc#", Limits(5))[1].reason is Reason.END
    texts, ending = write(cache, "abc#", Limits(3, ignore_end=True))
    assert ending.tokens[0] == END
    assert len(ending.tokens) == 3
    assert ending.reason is Reason.LENGTH
    assert len("".join(texts)) == 2


def test_the_context_is_used_to_its_end() -> None:
    """The token behind the last one that fits is still known."""
    texts, ending = write(TokenCache(FakeModel(), 6), "abc", Limits(50))
    assert "".join(texts) == continued("abc", 3)
    assert ending.reason is Reason.CONTEXT
    assert write(TokenCache(FakeModel(), 4), "abc", Limits(50))[1].reason is Reason.CONTEXT


@pytest.mark.parametrize("prompt", [[], [BEGIN, *b"abcdef"]])
def test_prompts_that_cannot_be_continued(prompt: list[int]) -> None:
    model = FakeModel()
    with pytest.raises(PromptError, match=r"is empty|expected at most 6"):
        list(generate(TokenCache(model, 6), TOKENIZER, SAMPLER, prompt, Limits(5)))
    assert model.evaluated == []


def test_kept_tokens_change_no_text() -> None:
    model = FakeModel()
    cache = TokenCache(model, 1000)
    for prompt, kept in (("the old man", 0), ("the old sea", 9), ("the old sea", 11), ("x", 1)):
        texts, ending = write(cache, prompt, Limits(7))
        assert "".join(texts) == continued(prompt, 7)
        assert ending.kept_tokens == kept
    longer = "x" + continued("x", 7)
    assert write(cache, longer, Limits(2))[1].kept_tokens == 1 + len(longer) - 1
    assert len(model.tokens) == 1 + len(longer) + 1


def test_long_prompts_are_read_in_steps() -> None:
    model = FakeModel()
    prompt = "p" * 150
    assert write(TokenCache(model, 1000), prompt, Limits(1))[0][0] == continued(prompt, 1)
    assert model.evaluated == [64, 64, 23]


@pytest.mark.parametrize(("looks", "steps", "tokens"), [(1, 1, 0), (3, 3, 1), (5, 5, 3)])
def test_stopping(looks: int, steps: int, tokens: int) -> None:
    """Within the prompt, or after some tokens; the next text is right nevertheless."""
    model = FakeModel()
    cache = TokenCache(model, 1000)
    ending = write(cache, "p" * 150, Limits(100), looks)[1]
    assert (ending.reason, len(ending.tokens)) == (Reason.STOPPED, tokens)
    assert len(model.evaluated) == steps
    assert "".join(write(cache, "p" * 151, Limits(3))[0]) == continued("p" * 151, 3)


def test_a_model_that_fails() -> None:
    model = FakeModel(breaks_at=ord("!"))
    cache = TokenCache(model, 1000)
    with pytest.raises(RuntimeError, match="broke"):
        write(cache, "p" * 100 + "!", Limits(3))
    assert model.tokens == []
    assert "".join(write(cache, "p" * 100, Limits(3))[0]) == continued("p" * 100, 3)


def test_characters_come_whole() -> None:
    says = "é€🙂".encode()
    texts, ending = write(TokenCache(Script(says, 2), 100), "x", Limits(50))
    assert texts == ["é", "€", "🙂", ""]
    assert len(ending.tokens) == 9
    assert write(TokenCache(Script(says, 2), 100), "x", Limits(4))[0] == ["é", "\ufffd"]


def test_the_first_token_of_a_text_loses_its_space() -> None:
    assert write(TokenCache(Script(b" a b", 1), 100), "", Limits(9))[0] == ["a", " ", "b", ""]
    assert write(TokenCache(Script(b" a b", 2), 100), "x", Limits(9))[0] == [*" a b", ""]


def test_stop_strings_are_left_out() -> None:
    cache = TokenCache(Script(b"one two three", 2), 100)
    texts, ending = write(cache, "x", Limits(50, ("tha", "o t")))
    assert texts == ["on", "e", " ", "tw", ""]
    assert ending.reason is Reason.STOP
    assert len(ending.tokens) == 9
    texts, ending = write(TokenCache(Script(b"tw", 2), 100), "x", Limits(50, ("two",)))
    assert texts == ["tw"]  # held back until nothing followed
    assert ending.reason is Reason.END


def test_the_earliest_stop_string_counts() -> None:
    stream = TextStream(("cd", "bcde", "abcdx"))
    assert stream.add(b"12ab") == "12"
    assert stream.add(b"cd") == "ab"
    assert stream.stopped
    assert (stream.add(b"more"), stream.finish()) == ("", "")


def test_text_is_held_back_no_longer_than_needed() -> None:
    stream = TextStream(("aab",))
    assert [stream.add(bytes([byte])) for byte in b"caaaaxaa"] == [
        "c",
        "",
        "",
        "a",
        "a",
        "aax",
        "",
        "",
    ]
    assert stream.finish() == "aa"
    assert TextStream().add(b"\xff\xfea") == "\ufffd\ufffda"
