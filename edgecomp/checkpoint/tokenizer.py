"""tokenizer.json as the keys `tokenizer.ggml.*`, in the conventions of llama.cpp's converter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from exporters.bundle import MetadataValue

__all__ = ["TokenType", "TokenizerError", "tokenizer_keys"]

MAX_TOKENS = 1 << 20  # elements of an array in a container
PREFIX = "tokenizer.ggml."
SPACE = "\u2581"  # sentencepiece's mark for a space
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The splitting rule of a byte-level tokenizer -> llama.cpp's name for it.
SPLITS = {LLAMA3: "llama-bpe", LLAMA3.replace("{1,3}", ""): "qwen2"}


class TokenizerError(ValueError):
    """A tokenizer.json that the container's keys cannot express."""


class TokenType(IntEnum):
    """llama.cpp's kinds of tokens."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, with a type each; scores where the model has them."""

    tokens: list[str]
    types: list[TokenType]
    scores: list[float] | None = None


def tokenizer_keys(folder: Path, vocab_size: int | None) -> dict[str, MetadataValue]:
    """The complete `tokenizer.ggml.*` keys of a folder's tokenizer.json; {} when it has none.

    Ids up to `vocab_size` (rows of the embedding) that no token has are filled as llama.cpp does.
    Raises TokenizerError for a tokenizer that these keys cannot express.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return {}
    try:
        tokenizer = json.loads(path.read_bytes())
        return convert(tokenizer, special_ids(folder, tokenizer), vocab_size)
    except TokenizerError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise TokenizerError(f"{path}: not a tokenizer of the usual form ({error!r})") from error


def convert(
    tokenizer: dict[str, Any], ids: Mapping[str, int], vocab_size: int | None
) -> dict[str, MetadataValue]:
    """The keys of a parsed tokenizer.json with the given special token ids."""
    model = tokenizer["model"]
    kind = model.get("type") or ("BPE" if "merges" in model else "WordPiece")
    keys: dict[str, MetadataValue]
    if kind == "BPE" and not model.get("byte_fallback"):
        vocabulary = byte_level_vocabulary(tokenizer, vocab_size)
        keys = {"model": "gpt2", "pre": pre_tokenizer_name(tokenizer), "merges": merges(model)}
    elif kind == "BPE":
        vocabulary = sentencepiece_vocabulary(tokenizer, vocab_size)
        keys = {"model": "llama", "pre": "default", "add_space_prefix": has_space_prefix(tokenizer)}
    elif kind == "Unigram":
        vocabulary = unigram_vocabulary(tokenizer, vocab_size)
        keys = {"model": "t5", "pre": "default", "add_space_prefix": has_space_prefix(tokenizer)}
    elif kind == "WordPiece":
        vocabulary = wordpiece_vocabulary(tokenizer, vocab_size)
        keys = {"model": "bert", "pre": "default"}
    else:
        raise TokenizerError(f"tokenizer model {kind}, expected BPE, Unigram or WordPiece")
    keys |= {"tokens": vocabulary.tokens, "token_type": [int(kind) for kind in vocabulary.types]}
    if vocabulary.scores is not None:
        keys["scores"] = vocabulary.scores
    first, last = template_ends(tokenizer)
    keys |= {"add_bos_token": first, "add_eos_token": last, **ids}
    return {PREFIX + key: value for key, value in keys.items()}


def fill(tokenizer: dict[str, Any], vocab: Mapping[str, int], vocab_size: int | None) -> Vocabulary:
    """Tokens and types by id: the model's vocabulary, the added tokens, and unused ids between."""
    added = {item["content"]: item for item in tokenizer.get("added_tokens", [])}
    by_id = {index: token for token, index in vocab.items()}
    by_id |= {item["id"]: token for token, item in added.items()}
    size = max(max(by_id) + 1, vocab_size or 0)
    if min(by_id) < 0 or size > MAX_TOKENS:
        raise TokenizerError(f"token ids {min(by_id)} to {size - 1}, expected 0..{MAX_TOKENS - 1}")
    unknown = tokenizer["model"].get("unk_token")
    tokens: list[str] = []
    types: list[TokenType] = []
    for index in range(size):
        token = by_id.get(index)
        if token is None:
            tokens.append(f"[PAD{index}]")
            types.append(TokenType.UNUSED)
            continue
        tokens.append(token)
        if token == unknown:
            types.append(TokenType.UNKNOWN)
        elif token in added:
            special = added[token]["special"]
            types.append(TokenType.CONTROL if special else TokenType.USER_DEFINED)
        else:
            types.append(TokenType.NORMAL)
    return Vocabulary(tokens, types)


def byte_level_vocabulary(tokenizer: dict[str, Any], vocab_size: int | None) -> Vocabulary:
    """The vocabulary of a byte-level BPE, in its printable byte alphabet."""
    return fill(tokenizer, tokenizer["model"]["vocab"], vocab_size)


def sentencepiece_vocabulary(tokenizer: dict[str, Any], vocab_size: int | None) -> Vocabulary:
    """The vocabulary of a sentencepiece BPE; a token's score is minus the rank of its merge.

    llama.cpp merges the pair with the highest score first, which is the order of the merges.
    """
    model = tokenizer["model"]
    base = fill(tokenizer, model["vocab"], vocab_size)
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(merges(model)):
        ranks.setdefault("".join(pair.split(" ")), rank)
    types = [
        TokenType.BYTE if kind == TokenType.NORMAL and is_byte(token) else kind
        for token, kind in zip(base.tokens, base.types, strict=True)
    ]
    scores = [-float(ranks.get(token, 0)) for token in base.tokens]
    return Vocabulary(base.tokens, types, scores)


def unigram_vocabulary(tokenizer: dict[str, Any], vocab_size: int | None) -> Vocabulary:
    """The vocabulary of a unigram model with its log probabilities."""
    pieces = tokenizer["model"]["vocab"]
    base = fill(tokenizer, {token: index for index, (token, _) in enumerate(pieces)}, vocab_size)
    scores = [float(score) for _, score in pieces]
    scores += [0.0] * (len(base.tokens) - len(scores))
    types = list(base.types)
    unknown = tokenizer["model"].get("unk_id")
    if unknown is not None:
        types[unknown] = TokenType.UNKNOWN
    return Vocabulary(base.tokens, types, scores)


def wordpiece_vocabulary(tokenizer: dict[str, Any], vocab_size: int | None) -> Vocabulary:
    """The vocabulary of a WordPiece model: word starts carry the space mark, the rest lose `##`."""
    model = tokenizer["model"]
    base = fill(tokenizer, model["vocab"], vocab_size)
    mark = model.get("continuing_subword_prefix", "##")

    def spell(token: str, kind: TokenType) -> str:
        if kind != TokenType.NORMAL or (token.startswith("[") and token.endswith("]")):
            return token
        return token[len(mark) :] if token.startswith(mark) else SPACE + token

    tokens = [spell(token, kind) for token, kind in zip(base.tokens, base.types, strict=True)]
    return Vocabulary(tokens, base.types)


def merges(model: dict[str, Any]) -> list[str]:
    """The merges of a BPE model, first to last, as "left right"."""
    return [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]


def pre_tokenizer_name(tokenizer: dict[str, Any]) -> str:
    """llama.cpp's name for the way a byte-level tokenizer splits text before it merges."""
    steps = parts(tokenizer.get("pre_tokenizer"), "pretokenizers")
    if [step["type"] for step in steps] == ["ByteLevel"] and not steps[0]["add_prefix_space"]:
        return "gpt-2"
    digits = [step["type"] for step in steps] == ["Digits", "ByteLevel"]
    if digits and steps[0]["individual_digits"] and not steps[1]["add_prefix_space"]:
        return "smollm"
    if [step["type"] for step in steps] == ["Split", "ByteLevel"]:
        pattern = steps[0]["pattern"].get("Regex")
        if pattern in SPLITS:
            return SPLITS[pattern]
    raise TokenizerError(f"pre-tokenizer {[step['type'] for step in steps]} with unknown rules")


def has_space_prefix(tokenizer: dict[str, Any]) -> bool:
    """Whether a space is put before the text."""
    steps = parts(tokenizer.get("normalizer"), "normalizers")
    steps += parts(tokenizer.get("pre_tokenizer"), "pretokenizers")
    return any(
        step["type"] == "Prepend"
        or (step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never")
        for step in steps
    )


def template_ends(tokenizer: dict[str, Any]) -> tuple[bool, bool]:
    """Whether a special token is put before, and after, a single text."""
    for step in parts(tokenizer.get("post_processor"), "processors"):
        if step["type"] == "TemplateProcessing" and step["single"]:
            return "SpecialToken" in step["single"][0], "SpecialToken" in step["single"][-1]
        if step["type"] in ("BertProcessing", "RobertaProcessing"):
            return True, True
    return False, False


def special_ids(folder: Path, tokenizer: dict[str, Any]) -> dict[str, int]:
    """The ids of special tokens by key: from tokenizer_config.json, else from config.json."""
    ids = {item["content"]: item["id"] for item in tokenizer.get("added_tokens", [])}
    vocab = tokenizer["model"]["vocab"]
    ids |= vocab if isinstance(vocab, dict) else {}
    named = optional_json(folder / "tokenizer_config.json")
    numbered = optional_json(folder / "generation_config.json")
    numbered = optional_json(folder / "config.json") | numbered
    found: dict[str, int] = {}
    for name, key in (
        ("bos", "bos"),
        ("eos", "eos"),
        ("unk", "unknown"),
        ("pad", "padding"),
        ("sep", "seperator"),  # the spelling of the GGUF key
        ("cls", "cls"),
        ("mask", "mask"),
    ):
        token = named.get(f"{name}_token")
        content = token.get("content") if isinstance(token, dict) else token
        number = numbered.get(f"{name}_token_id")
        number = number[0] if isinstance(number, list) and number else number
        if isinstance(content, str) and content in ids:
            found[f"{key}_token_id"] = ids[content]
        elif type(number) is int and number >= 0:
            found[f"{key}_token_id"] = number
    return found


def optional_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file, {} when there is no such file."""
    return dict(json.loads(path.read_bytes())) if path.is_file() else {}


def parts(step: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """The steps of a pipeline, whether it is a sequence, one step or none."""
    if step is None:
        return []
    return list(step[key]) if step["type"] == "Sequence" else [step]


def is_byte(token: str) -> bool:
    """Whether a token is sentencepiece's spelling of one byte, such as <0x0A>."""
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")
