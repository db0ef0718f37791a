"""Tokenizer keys: a tokenizer rebuilt from them alone encodes text as the original does."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from edgecomp.checkpoint.tokenizer import LLAMA3, TokenizerError, TokenType, tokenizer_keys
from edgecomp.cli.demo import shipped_text

TEXT = (
    "The quick brown fox. \u00c9t\u00e9, na\u00efve caf\u00e9!  Two  spaces\n"
    "and lines 1234 \U0001f600 don't"
)


def keys_of(folder: Path, tokenizer: Tokenizer, **config: Any) -> dict[str, Any]:
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(config))
    keys = tokenizer_keys(folder, config.get("vocab_size"))
    return {key.removeprefix("tokenizer.ggml."): value for key, value in keys.items()}


def test_shipped_tokenizer_rebuilt_from_the_keys(bookworm: Path) -> None:
    keys = tokenizer_keys(bookworm, 8192)
    assert keys["tokenizer.ggml.model"] == "gpt2"
    assert keys["tokenizer.ggml.pre"] == "gpt-2"
    tokens, merges = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.merges"]
    assert isinstance(tokens, list)
    assert isinstance(merges, list)
    pairs = [tuple(str(merge).split(" ")) for merge in merges]
    vocab = {str(token): i for i, token in enumerate(tokens)}
    rebuilt = Tokenizer(models.BPE(vocab=vocab, merges=pairs))
    rebuilt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    original = Tokenizer.from_file(str(bookworm / "tokenizer.json"))
    for text in (shipped_text().read_text(), TEXT):
        assert rebuilt.encode(text).ids == original.encode(text).ids
    types = keys["tokenizer.ggml.token_type"]
    assert isinstance(types, list)
    assert types == [TokenType.CONTROL] + [TokenType.NORMAL] * 8191
    for name in ("bos", "eos"):
        assert keys[f"tokenizer.ggml.{name}_token_id"] == 0
    assert "tokenizer.ggml.padding_token_id" not in keys
    assert keys["tokenizer.ggml.add_bos_token"] is False


def test_folder_without_tokenizer_has_no_keys(tmp_path: Path) -> None:
    assert tokenizer_keys(tmp_path, 10) == {}


def test_byte_level_rules_have_names(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.add_tokens(["plain"])
    for pattern, name in ((LLAMA3, "llama-bpe"), (LLAMA3.replace("{1,3}", ""), "qwen2")):
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(json_regex(pattern), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        keys = keys_of(tmp_path, tokenizer, vocab_size=7, eos_token_id=[3, 4])
        assert keys["pre"] == name
        assert keys["tokens"] == ["a", "b", "ab", "<s>", "plain", "[PAD5]", "[PAD6]"]
        assert keys["token_type"] == [1, 1, 1, 3, 4, 5, 5]
        assert keys["eos_token_id"] == 3
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(TokenizerError, match="Whitespace"):
        keys_of(tmp_path, tokenizer)


def json_regex(pattern: str) -> Any:
    from tokenizers import Regex

    return Regex(pattern)


def test_sentencepiece_merges_become_scores(tmp_path: Path) -> None:
    pieces = ["<unk>", "<0x0A>", "\u2581", "a", "b", "\u2581a", "ab", "\u2581ab"]
    merges = [("a", "b"), ("\u2581", "a"), ("\u2581", "ab"), ("\u2581a", "b")]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    model = models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    keys = keys_of(tmp_path, tokenizer)
    assert keys["model"] == "llama"
    assert keys["tokens"] == pieces
    assert keys["token_type"] == [2, 6, 1, 1, 1, 1, 1, 1]
    assert keys["add_space_prefix"] is True
    for text in ("ab", "aab", "a b ab", "b"):
        assert by_scores(keys, text) == tokenizer.encode(text).tokens


def by_scores(keys: dict[str, Any], text: str) -> list[str]:
    """llama.cpp's rule: merge the neighbours whose joined token has the highest score."""
    scores = dict(zip(keys["tokens"], keys["scores"], strict=True))
    parts = list(("\u2581" + text).replace(" ", "\u2581"))
    while True:
        pairs = [a + b for a, b in pairwise(parts)]
        joined = [(scores[pair], -i) for i, pair in enumerate(pairs) if pair in scores]
        if not joined:
            return parts
        i = -max(joined)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def test_unigram_keeps_its_scores(tmp_path: Path) -> None:
    pieces = [("<unk>", 0.0), ("\u2581a", -1.5), ("b", -2.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    keys = keys_of(tmp_path, tokenizer, vocab_size=4)
    assert keys["model"] == "t5"
    assert keys["scores"] == [0.0, -1.5, -2.0, 0.0]
    assert keys["token_type"] == [2, 1, 1, 5]
    assert keys["add_space_prefix"] is False


def test_wordpiece_marks_word_starts(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "play": 1, "##ing": 2}, unk_token="[UNK]"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"unk_token": "[UNK]"}))
    keys = keys_of(tmp_path, tokenizer)
    assert keys["model"] == "bert"
    assert keys["tokens"] == ["[UNK]", "\u2581play", "ing"]
    assert keys["unknown_token_id"] == 0


def test_trained_byte_level_tokenizer(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    keys = keys_of(tmp_path, tokenizer)
    assert len(keys["tokens"]) == tokenizer.get_vocab_size()
    assert [tokenizer.token_to_id(token) for token in keys["tokens"]] == [
        *range(tokenizer.get_vocab_size())
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "{",
        '{"model": {"type": "BPE"}}',
        '{"model": 3}',
        '{"model": {"type": "BPE", "vocab": {}, "merges": []}}',
        "[" * 100_000,
    ],
)
def test_other_files_are_one_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        tokenizer_keys(tmp_path, None)


@pytest.mark.parametrize("index", [-1, 10**12])
def test_token_ids_out_of_range(tmp_path: Path, index: int) -> None:
    model = {"type": "WordPiece", "vocab": {"a": 0, "b": index}}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))
    with pytest.raises(TokenizerError, match="token ids"):
        tokenizer_keys(tmp_path, None)
