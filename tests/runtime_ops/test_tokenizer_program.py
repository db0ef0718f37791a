"""The C tokenizer on every machine, and with keys that no tokenizer has: told, and no crash."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from runtime_ops.native_model import ModelError
from runtime_ops.native_tokenizer import NativeTokenizer
from tests.exporters.changes import put, remove
from tests.exporters.gguf_bytes import (
    ARRAY,
    BOOL,
    F32,
    STRING,
    U32,
    array,
    strings,
    take_apart,
    text,
    value,
)
from tests.runtime_ops.harness import EVERY_TARGET, command
from tests.runtime_ops.small_tokenizers import NAMES, UNICODE, known_text, small_tokenizer

PREFIX = "tokenizer.ggml."
I32, F64 = 5, 12
HUGE = 0xFFFFFFFF
MUTANTS = 300
BROKEN = bytes(range(256)) + b"\xf0\x9f\x98<|end|>\xe2\x82</s>\xed\xa0\x80"
TEXT = known_text()[:3000].encode() + "".join(UNICODE).encode() + BROKEN


def run_tokenizer(
    program: Sequence[str], files: Iterable[bytes], folder: Path, prompt: bytes
) -> list[str]:
    """What the program prints about each file."""
    corpus = folder / "corpus"
    with open(corpus, "wb") as out:
        for file in files:
            out.write(struct.pack("<Q", len(file)) + file)
    done = subprocess.run([*program, str(corpus)], input=prompt, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:].decode(errors="replace")
    return done.stdout.decode().splitlines()


def expected_line(data: bytes, prompt: bytes) -> str:
    """What it should print, by the extension module."""
    tokenizer = NativeTokenizer(data)
    parts = [
        "".join(f"{token} " for token in tokenizer.encode(prompt, special=special))
        for special in (True, False)
    ]
    total = 0xCBF29CE484222325
    for token in range(len(tokenizer)):
        for first, special in ((False, False), (True, False), (False, True), (True, True)):
            piece = tokenizer.piece(token, first, special)
            for number in (len(piece), *piece):
                total = (total ^ number) * 0x100000001B3 % (1 << 64)
    return f"{parts[0]}| {parts[1]}| {total:016x}"


@pytest.mark.parametrize("target", EVERY_TARGET)
def test_same_tokens_on_every_machine(target: str, tmp_path: Path) -> None:
    program = command("tokenizer", target, tmp_path)
    files = [small_tokenizer(name).data for name in NAMES]
    for prompt in (TEXT, b""):
        lines = run_tokenizer(program, files, tmp_path, prompt)
        assert lines == [expected_line(data, prompt) for data in files]


def wrong_of_both(name: str) -> Iterator[tuple[str, bytes | None]]:
    """Values that cannot be used, whatever the model; None: the key is missing."""
    n = small_tokenizer(name).model.get_vocab_size()
    numbers = [1] * n
    for key in ("bos_token_id", "eos_token_id", "unknown_token_id"):
        for raw in (value(U32, n), value(U32, HUGE), value(STRING, b"1"), array(U32, [1])):
            yield key, raw
        yield key, struct.pack("<Ii", I32, -1)
        yield key, struct.pack("<Id", F64, float("nan"))
    for raw in (None, value(STRING, b"bert"), value(STRING, b""), value(U32, 1)):
        yield "model", raw
    yield "model", array(STRING, [b"gpt2"])
    for raw in (None, value(U32, n), value(STRING, b"a"), array(U32, numbers), array(STRING, [])):
        yield "tokens", raw
    yield "token_type", array(U32, numbers[1:])
    yield "token_type", array(STRING, [b"1"] * n)
    yield "token_type", value(U32, 1)
    for wrong in (0, 7, HUGE):
        yield "token_type", array(U32, [*numbers[1:], wrong])
    yield "token_type", array(F32, [*numbers[1:], float("nan")])
    for key in ("add_bos_token", "add_space_prefix"):
        yield key, value(U32, 1)
        yield key, value(STRING, b"true")
        yield key, array(BOOL, [1])


def wrong_of_bytes() -> Iterator[tuple[str, bytes | None]]:
    """The same for byte-level ones."""
    for raw in (None, value(STRING, b"dbrx"), value(STRING, b""), value(U32, 1)):
        yield "pre", raw
    for raw in (value(STRING, b"a b"), value(U32, 1), array(U32, [1])):
        yield "merges", raw
    for merge in (b"", b" ", b"ab", b" a", b"a ", b"  ", b"a  b", b"a nowhere", b"\0"):
        yield "merges", array(STRING, [b"t h", merge])


def wrong_of_sentencepiece() -> Iterator[tuple[str, bytes | None]]:
    """The same for SentencePiece's."""
    n = small_tokenizer("sentencepiece").model.get_vocab_size()
    for raw in (None, array(F32, [0.0] * (n - 1)), array(STRING, [b"0"] * n), value(F32, 0.0)):
        yield "scores", raw
    for score in (float("nan"), float("inf"), -float("inf")):
        yield "scores", array(F32, [*[0.0] * (n - 1), score])


def wrong_keys(name: str) -> list[tuple[str, bytes | None]]:
    own = wrong_of_sentencepiece() if name == "sentencepiece" else wrong_of_bytes()
    return [*wrong_of_both(name), *own]


def changed(name: str, key: str, raw: bytes | None) -> bytes:
    file = take_apart(small_tokenizer(name).data)
    (remove(PREFIX + key) if raw is None else put(PREFIX + key, raw))(file)
    return file.build()


@pytest.mark.parametrize("name", NAMES[1:])
def test_wrong_keys_are_told(name: str) -> None:
    for key, raw in wrong_keys(name):
        with pytest.raises(ModelError) as error:
            NativeTokenizer(changed(name, key, raw))
        missing = key == "model" and raw is None
        expected = "the container has no tokenizer" if missing else f"key {PREFIX}{key}: "
        assert str(error.value).startswith(expected)
        assert "compress the model again" in error.value.hint


def words(raw: bytes) -> list[bytes]:
    """The elements of an array of numbers of 32 bits."""
    return [bytes(raw[at : at + 4]) for at in range(0, len(raw), 4)]


def mutant(sound: bytes, random_: random.Random) -> bytes:
    """The file with some of the tokenizer's values changed: bytes, lengths, elements exchanged."""
    file = take_apart(sound)
    keys = [key for key in file.pairs if key.startswith(b"tokenizer.")]
    for _ in range(random_.choice([1, 1, 2, 5])):
        key = random_.choice(keys)
        raw = bytearray(file.pairs[key])
        kind = struct.unpack_from("<I", raw, 4)[0] if raw[0] == ARRAY else None
        if kind is not None and random_.random() < 0.5:
            parts = [*map(text, strings(raw))] if kind == STRING else words(raw[16:])
            a, b = (random_.randrange(len(parts)) for _ in "ab")
            parts[a], parts[b] = random_.choice([(parts[b], parts[a]), (parts[b], parts[b])])
            file.pairs[key] = bytes(raw[:16]) + b"".join(parts)
        else:
            start = 4 if kind is None else random_.choice([4, 8, 16])
            place = random_.randrange(min(start, len(raw) - 1), len(raw))
            raw[place] = random_.choice([0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)])
            file.pairs[key] = bytes(raw)
    return file.build()


@pytest.mark.parametrize("target", ["native", pytest.param("sanitized", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES[1:])
def test_hostile_keys_do_no_harm(target: str, name: str, tmp_path: Path) -> None:
    program = command("tokenizer", target, tmp_path)
    wrong = [changed(name, key, raw) for key, raw in wrong_keys(name)]
    lines = run_tokenizer(program, wrong, tmp_path, TEXT)
    assert len(lines) == len(wrong)
    assert all(line.startswith("error: ") for line in lines)
    random_ = random.Random(20261122)
    mutants = [mutant(small_tokenizer(name).data, random_) for _ in range(MUTANTS)]
    lines = run_tokenizer(program, mutants, tmp_path, TEXT)
    assert len(lines) == MUTANTS
    refused = sum(line.startswith("error: ") for line in lines)
    assert 0.05 < refused / MUTANTS < 0.95, "mutants must be used and refused"
