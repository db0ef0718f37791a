"""Containers that are sound as files but no models: one error line and exit 1, under sanitizers."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from tests.exporters.changes import put, remove
from tests.exporters.gguf_bytes import (
    ARRAY,
    F32,
    STRING,
    U32,
    GGUFBytes,
    array,
    strings,
    take_apart,
    value,
)
from tests.runtime_ops.edgecomp_run import Ran, build, run
from tests.runtime_ops.tiny_llama import SHAPE, tiny_llama

MODEL, TOKENIZER = "edgecomp.model.", "tokenizer.ggml."
HUGE = 0xFFFFFFFF
TENSORS = dict(SHAPE.tensors())
MUTANTS = 400

# Whole numbers that fit neither the tensors nor a computer.
WRONG = {
    "attention.head_count": (0, 3, 5, 1 << 31, HUGE),
    "attention.head_count_kv": (0, 3, 8, 1 << 31, HUGE),
    "attention.key_length": (0, 1, 15, 32, HUGE),
    "embedding_length": (0, 1, 63, 128, HUGE),
    "feed_forward_length": (0, 95, 97, HUGE),
    "block_count": (0, 3, 1 << 31, HUGE),
    "context_length": (0,),
}
WRONG_FLOATS = {
    "rope.freq_base": (float("nan"), float("inf"), 0.0, -1.0),
    "attention.layer_norm_rms_epsilon": (float("nan"), float("inf"), -1.0),
}


@pytest.fixture(
    scope="module", params=["native", pytest.param("sanitized", marks=pytest.mark.slow)]
)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return build(request.param, tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tiny_llama(tmp_path_factory.mktemp("model") / "tiny.gguf").read_bytes()


def told(done: Ran) -> bool:
    """Whether the program ended as it should: with text alone, or with one error alone."""
    lines = done.stderr.decode().splitlines()
    if done.returncode == 0:
        return not lines
    said = [line.split(":")[0] for line in lines]
    return done.returncode == 1 and not done.stdout and said in (["error"], ["error", "hint"])


def use(program: list[str], path: Path) -> Ran:
    return run(program, "run", path, "-p", "the in", "-n", 3, "--quiet", "--threads", 2)


def refuse(program: list[str], path: Path, what: object) -> None:
    """Fails unless `run` and `bench` end with one error."""
    done = use(program, path)
    assert (done.returncode, told(done)) == (1, True), (what, done.stderr)
    done = run(program, "bench", path, "--prefill", 4, "--generate", 1, "--rounds", 1)
    assert (done.returncode, told(done)) == (1, True), (what, done.stderr)


def changed(sound: bytes, key: str, raw: bytes | None) -> bytes:
    file = take_apart(sound)
    (remove(key) if raw is None else put(key, raw))(file)
    return file.build()


def test_sound_model_runs(program: list[str], sound: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sound.gguf"
    path.write_bytes(sound)
    done = use(program, path)
    assert (done.returncode, told(done)) == (0, True), done.stderr
    path.write_bytes(take_apart(sound).build())
    assert use(program, path).stdout == done.stdout


def test_hyperparameters_that_cannot_be(program: list[str], sound: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    values = [(key, value(U32, number)) for key, numbers in WRONG.items() for number in numbers]
    values += [(key, value(F32, n)) for key, numbers in WRONG_FLOATS.items() for n in numbers]
    for key in (*WRONG, *WRONG_FLOATS):
        values += [(key, value(STRING, b"4")), (key, array(U32, [4, 4]))]
        values += [(key, struct.pack("<Ii", 5, -1)), (key, struct.pack("<Id", 12, -0.5))]
    values += [("architecture", value(STRING, b"gpt2")), ("architecture", value(U32, 1))]
    for key, raw in values:
        path.write_bytes(changed(sound, MODEL + key, raw))
        refuse(program, path, (key, raw))


@pytest.mark.parametrize(
    "key", ["architecture", "attention.head_count", "embedding_length", "block_count"]
)
def test_hyperparameters_that_are_missing(
    program: list[str], sound: bytes, tmp_path: Path, key: str
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(changed(sound, MODEL + key, None))
    refuse(program, path, key)


def wrong_sides(sides: tuple[int, ...]) -> list[tuple[int, ...]]:
    """None at all, one more or fewer of either, the other way round, another number of sides."""
    wrong: list[tuple[int, ...]] = [(), (sides[0] + 1, *sides[1:]), (sides[0] - 1, *sides[1:])]
    wrong += [(1, *sides), (*sides, 1)]
    if len(sides) == 2:
        wrong += [(sides[0], sides[1] + 1), (sides[0] * sides[1],)]
        wrong += [sides[::-1]] if sides[0] != sides[1] else []
    return wrong


@pytest.mark.parametrize("name", [name for name in TENSORS if ".1." not in name])
def test_tensors_that_do_not_fit(program: list[str], tmp_path: Path, name: str) -> None:
    for sides in wrong_sides(TENSORS[name]):
        if name == "lm_head.weight" and not sides:
            continue  # then the embedding is the head
        path = tiny_llama(tmp_path / "model.gguf", sides={name: sides})
        refuse(program, path, sides)


def test_tokenizers_that_cannot_be(program: list[str], sound: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    tokens = strings(take_apart(sound).pairs[f"{TOKENIZER}tokens".encode()])
    wrong: list[tuple[str, bytes | None]] = [
        *((key, None) for key in ("model", "tokens")),
        ("model", value(STRING, b"bert")),
        ("model", value(U32, 1)),
        ("tokens", value(U32, 1)),
        ("tokens", array(U32, [1, 2])),
        ("tokens", array(STRING, [])),
        ("merges", array(U32, [1])),
        ("token_type", array(U32, [1] * (len(tokens) - 1))),
        ("eos_token_id", value(U32, len(tokens))),
        ("bos_token_id", value(U32, HUGE)),
    ]
    for key, raw in wrong:
        path.write_bytes(changed(sound, TOKENIZER + key, raw))
        done = use(program, path)
        assert (done.returncode, told(done)) == (1, True), (key, raw, done.stderr)


def mutant(sound: bytes, random_: random.Random) -> bytes:
    """The file with some bytes of its keys' values changed, or an array shortened, or cut off."""
    file: GGUFBytes = take_apart(sound)
    for _ in range(random_.choice([1, 1, 2, 3])):
        prefix = random_.choice([MODEL, TOKENIZER, "edgecomp."]).encode()
        key = random_.choice([key for key in file.pairs if key.startswith(prefix)])
        raw = bytearray(file.pairs[key])
        at = 4 if raw[0] != ARRAY else random_.choice([4, 8, 16])
        place = random_.randrange(min(at, len(raw) - 1), len(raw))
        raw[place] = random_.choice([0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)])
        file.pairs[key] = bytes(raw)
    built = file.build()
    return built if random_.random() < 0.9 else built[: random_.randrange(len(built))]


@pytest.mark.slow
def test_mutants_are_told(program: list[str], sound: bytes, tmp_path: Path) -> None:
    random_ = random.Random(20261122)
    path = tmp_path / "mutant.gguf"
    statuses = []
    for i in range(MUTANTS):
        path.write_bytes(mutant(sound, random_))
        done = use(program, path)
        assert told(done), (i, done.returncode, done.stderr)
        statuses.append(done.returncode)
    assert 0.05 < statuses.count(0) / MUTANTS < 0.95, "mutants must be used and refused"
