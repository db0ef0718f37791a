"""Tokenizers that are trained here, by the name of what they are like, and containers with them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

import edgecomp
from edgecomp.checkpoint.tokenizer import LLAMA3, SPACE, convert, special_ids
from exporters.bundle import MetadataValue, ModelBundle, TensorSource
from exporters.gguf import write_container
from runtime_ops.formats import EncodedTensor, RawFormat

__all__ = ["NAMES", "UNICODE", "SmallTokenizer", "container", "known_text", "small_tokenizer"]

DATA = Path(edgecomp.__file__).parent / "data"
NAMES = ("bookworm", "llama3", "qwen2", "smollm", "sentencepiece")
CONTROL, USER_DEFINED = "<|end|>", "<think>"  # of the trained ones
# Scripts, marks, digits, white space of every kind, control characters, contractions.
UNICODE = (
    "漢字かな交じり文、한국어 텍스트。中文字符１２３四五六 ",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 ❤️ 🇩🇪 ",
    "مرحبا بالعالم ٣٤٥٦ ﷺ שָׁלוֹם ",
    "हिन्दी में लिखा हुआ १२३४ क्षत्रिय ร้านกาแฟ ১২৩ ༡༢༣ ",
    "e\u0301 a\u0308\u0323 Å ﬁ ß ẞ İ ı ǅ ª º ² ³ ½ Ⅷ ⅷ ௧௨ 𝟙𝟚𝟛 𐄇𐄈 ",
    "I'S we'LL they'Re I'm 'tis don't I'Ve ’s ‘ll 'ſ x'D'd ''s 's't 'l 'r 'v 'é \n'll",
    "1 22 333 4444 55555 3.14159 1,000,000 0x1F v2.0.1 ",
    "".join(f"a{c}b{c}{c}c {c}{c} d" for c in "\t\n\v\f\r\u0085\u00a0\u1680\u2000\u2003\u200a"),
    "".join(f"a{c}b{c}{c}{c}c{c} d\n{c}\n" for c in "\u2028\u2029\u202f\u205f\u3000\u200b\ufeff"),
    "".join(map(chr, range(32))) + "\x7f\u0080\u009f\u00ad\u200d\u2060\ufffd\uffff\U0010fffd",
    " " * 70 + "x" + "\n" * 40 + "y \n \n\n  \r\n\r\n z" + "\t" * 9 + "end" + " " * 33,
    "...?!?! --- ## <a href='x'>{}[]()</a> _snake_case camelCase $%^&* \\n \\\\ //\n//\r\n",
)


@dataclass(frozen=True)
class SmallTokenizer:
    """What Hugging Face's library makes of a tokenizer, and a container that has it."""

    name: str
    model: Tokenizer
    data: bytes

    def ids(self, text: str, special: bool = True) -> list[int]:
        """Tokens by Hugging Face's library; `special`: texts of control tokens become those."""
        self.model.encode_special_tokens = not special
        return list(self.model.encode(text, add_special_tokens=False).ids)


def container(keys: Mapping[str, MetadataValue]) -> bytes:
    """A container with a tensor of one number and these keys of a tokenizer."""
    tensor = EncodedTensor(RawFormat("f32"), (1,), {"raw": np.zeros(1, np.float32)}, 0.0)
    source = TensorSource("weight", lambda: tensor)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.gguf"
        write_container(ModelBundle("tokenizer", (source,), "{}", tokenizer=keys), path)
        return path.read_bytes()


@cache
def known_text() -> str:
    """English prose that no tokenizer was trained with."""
    return (DATA / "bookworm_valid.txt").read_text()


@cache
def small_tokenizer(name: str) -> SmallTokenizer:
    """One of NAMES."""
    if name == "bookworm":
        folder = DATA / "bookworm"
        model = Tokenizer.from_file(str(folder / "tokenizer.json"))
        parsed = json.loads((folder / "tokenizer.json").read_text())
        return SmallTokenizer(
            name, model, container(convert(parsed, special_ids(folder, parsed), None))
        )
    model = sentencepiece() if name == "sentencepiece" else byte_level(name)
    parsed = json.loads(model.to_str())
    ids = {"eos_token_id": model.token_to_id("</s>" if name == "sentencepiece" else CONTROL)}
    if name == "sentencepiece":
        ids |= {"bos_token_id": 1, "unknown_token_id": 0}
    return SmallTokenizer(name, model, container(convert(parsed, ids, None)))


def training_text() -> list[str]:
    return [(DATA / "bookworm_calib.txt").read_text()[:60_000], *UNICODE]


def byte_level(name: str) -> Tokenizer:
    """Splits as a model does; Llama 3 takes a word that is a token without merging."""
    pattern = LLAMA3 if name == "llama3" else LLAMA3.replace("{1,3}", "")
    model = Tokenizer(models.BPE(ignore_merges=name == "llama3"))
    split: pre_tokenizers.PreTokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    if name == "smollm":
        split = pre_tokenizers.Digits(individual_digits=True)
    alphabet = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=name == "smollm")
    model.pre_tokenizer = pre_tokenizers.Sequence([split, alphabet])
    trainer = trainers.BpeTrainer(
        vocab_size=1500, initial_alphabet=alphabet.alphabet(), show_progress=False
    )
    model.train_from_iterator(training_text(), trainer)
    add_tokens(model)
    return model


def sentencepiece() -> Tokenizer:
    """As Llama 2's: every way to make a token of two others is a merge, in the order of tokens."""
    text = [part.replace(" ", SPACE) for part in training_text()]
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Split(Regex(f"{SPACE}*[^{SPACE}]+|{SPACE}+"), "isolated")
    trainer = trainers.BpeTrainer(vocab_size=1200, min_frequency=2, show_progress=False)
    trained.train_from_iterator(text, trainer)
    model = json.loads(trained.to_str())["model"]
    letters = [token for token in model["vocab"] if len(token) == 1]
    made = list(dict.fromkeys("".join(pair) for pair in model["merges"]))
    made += ["s>", "/s>"]  # which make control tokens with the "<" before them, but for no merge
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *made, *letters]
    vocab = {token: i for i, token in enumerate(tokens)}
    merges = [
        (token[:cut], token[cut:])
        for token in made
        for cut in range(1, len(token))
        if token[:cut] in vocab and token[cut:] in vocab
    ]
    bpe = models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    whole = Tokenizer(bpe)
    whole.normalizer = normalizers.Sequence(
        [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    )
    special = [AddedToken(token, special=True, normalized=False) for token in tokens[:3]]
    whole.add_special_tokens(special)
    add_tokens(whole)
    whole.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return whole


def add_tokens(model: Tokenizer) -> None:
    """Those that no merge makes, one of them a word, one that begins like another."""
    controls = (CONTROL, "<|end|>>", "<|x|>", "STOP")
    model.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in controls]
    )
    model.add_tokens([AddedToken(USER_DEFINED, normalized=False)])
