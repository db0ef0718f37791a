"""Models run by a C program on every machine, and models that someone has changed."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exporters.bundle import MetadataValue
from runtime_ops.formats import EncodedTensor, RawFormat
from runtime_ops.reference.llama import KV, Session, llama
from tests.runtime_ops import harness
from tests.runtime_ops.model_program import run_model
from tests.runtime_ops.random_models import (
    N_VOCAB,
    VARIATIONS,
    Variation,
    model_keys,
    random_model,
    write_model,
)

PROMPT = (3, 1, 4, 1, 5, 9, 2, 6)
COUNT = 5
SMALL = replace(VARIATIONS[1], name="small", d_model=32, d_ff=40, d_head=8)
LLAMA3 = next(v for v in VARIATIONS if "llama3" in v.keys.values())
MARK = 12345.678  # replaced by what no writer writes; not exact in float32
NUMBERS = (
    "block_count", "embedding_length", "feed_forward_length", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "context_length", "vocab_size",
)  # fmt: skip
FLOATS = ("attention.layer_norm_rms_epsilon", "rope.freq_base")


@pytest.fixture(scope="module", params=harness.EVERY_TARGET)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs the program built for a target."""
    return harness.command("model", request.param, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The program with the sanitizers."""
    return harness.command("model", "sanitized", tmp_path_factory.mktemp("model"))


def lines(program: list[str], files: Iterable[bytes], folder: Path) -> list[str]:
    """What the program prints about each file."""
    return [result.line for result in run_model(program, files, folder, (COUNT, PROMPT))]


@pytest.mark.parametrize("kv", ["f16", "int8"])
def test_same_bits_on_every_machine(program: list[str], kv: KV, tmp_path: Path) -> None:
    models = [(model_keys(v), random_model(v)) for v in VARIATIONS]
    files = [write_model(tmp_path / "m.gguf", *model) for model in models]
    results = run_model(program, files, tmp_path, (COUNT, PROMPT), kv)
    for (keys, tensors), result in zip(models, results, strict=True):
        session = Session(llama(keys, tensors.get), kv)
        logits = [session.eval(PROMPT)]
        for _ in range(COUNT - 1):
            logits.append(session.eval([int(logits[-1].argmax())]))
        assert result.tokens == tuple(int(each.argmax()) for each in logits)
        assert result.has_logits(np.stack(logits))


def with_keys(variation: Variation, changes: dict[str, MetadataValue | None], path: Path) -> bytes:
    """The variation's file with other values for some keys, or without them."""
    keys = model_keys(variation) | changes
    kept = {name: value for name, value in keys.items() if value is not None}
    return write_model(path, kept, random_model(variation))


@pytest.mark.slow
def test_numbers_that_make_no_model(sanitized: list[str], tmp_path: Path) -> None:
    """Each is named in the message, with what was expected."""
    path = tmp_path / "m.gguf"
    files, names = [], []
    for name in NUMBERS:
        for value in (0, -1, 1 << 31, 1 << 62, 1.5, 1e300, "8", True, [8], ["a"]):
            files.append(with_keys(SMALL, {name: value}, path))
            names.append(name)
    for name in FLOATS:
        for value in (-1e-3, 1e16, "1e-5", False, [0.5]):
            files.append(with_keys(SMALL, {name: value}, path))
            names.append(name)
        marked = with_keys(SMALL, {name: MARK}, path)
        assert marked.count(struct.pack("<d", MARK)) == 1
        for bits in (0x7FF8 << 48, 0x7FF0 << 48, 0xFFF0 << 48):
            files.append(marked.replace(struct.pack("<d", MARK), struct.pack("<Q", bits)))
            names.append(name)
    for name in ("block_count", "embedding_length", "context_length"):
        files.append(with_keys(SMALL, {name: None}, path))
        names.append(name)
    for name in ("rope.scaling.low_freq_factor", "rope.scaling.factor"):
        for value in (None, -1.0, 1e9, "x"):
            files.append(with_keys(LLAMA3, {name: value}, path))
            names.append(name)
    found = lines(sanitized, files, tmp_path)
    assert len(found) == len(files) > 100
    for line, name in zip(found, names, strict=True):
        assert line.startswith(f"error: key edgecomp.model.{name}: "), (name, line)
        assert line.partition("hint: ")[2], line


CHANGES: tuple[tuple[dict[str, MetadataValue | None], str], ...] = (
    ({"architecture": "gemma3"}, 'architecture is "gemma3", which cannot be run'),
    ({"architecture": "\x1b[31m" + "ü" * 99}, r'architecture is "?[31m????'),
    ({"architecture": None}, 'architecture is "", which cannot be run'),
    ({"architecture": 7}, "key edgecomp.model.architecture: expected a text"),
    ({"feed_forward.activation": "gelu"}, 'activation is "gelu", expected silu'),
    ({"rope.scaling.type": "dynamic"}, 'scaling of positions is "dynamic"'),
    ({"rope.interleaved": 1}, "key edgecomp.model.rope.interleaved: expected true or false"),
    ({"rope.dimension_count": 4}, "positions rotate 4 numbers of heads of 8, expected all"),
    ({"attention.head_count_kv": 3}, "4 heads for queries, expected a multiple of the 3 for keys"),
    ({"attention.head_count_kv": 8}, "4 heads for queries, expected a multiple of the 8 for keys"),
    ({"attention.key_length": 7}, "heads of 7 numbers, expected an even number"),
    ({"attention.head_count": 1024, "attention.key_length": 1024}, "1024 heads of 1024 numbers"),
    ({"attention.head_count": 5, "attention.head_count_kv": 5}, "tensor model.layers.0.self_attn."),
    ({"embedding_length": 40}, "tensor model.embed_tokens.weight: 2 sides of 50 and 32, expected"),
    ({"vocab_size": N_VOCAB - 1}, "tensor model.embed_tokens.weight: 2 sides of 50 and 32"),
    ({"block_count": 3}, "tensor model.layers.2.input_layernorm.weight: missing"),
    ({"block_count": 1024}, "tensor model.layers.2.input_layernorm.weight: missing"),
    ({"feed_forward_length": 39}, "tensor model.layers.0.mlp.gate_proj.weight: 2 sides of 40"),
    ({"attention.sliding_window": 16, "context_length": 1 << 28}, ""),
    ({"vocab_size": None, "attention.key_length": None, "rope.freq_base": None}, ""),
    ({"context_length": 7}, "8 tokens do not fit behind 0 in a context of 7"),
)


def test_models_that_are_built_otherwise(program: list[str], tmp_path: Path) -> None:
    """One line each, and nothing of a file that a terminal would obey; some can be run."""
    path = tmp_path / "m.gguf"
    files = [with_keys(SMALL, changes, path) for changes, _ in CHANGES]
    for line, (_, message) in zip(lines(program, files, tmp_path), CHANGES, strict=True):
        assert line.startswith(f"error: {message}" if message else tuple("0123456789")), line
        assert line.isascii()
        assert line.isprintable()


def test_tensors_that_make_no_model(program: list[str], tmp_path: Path) -> None:
    """Every tensor in turn is left out, or has another shape; norms may hold anything."""
    keys, tensors = model_keys(SMALL), random_model(SMALL)
    path = tmp_path / "m.gguf"
    files, names = [], []
    for name, tensor in tensors.items():
        others = {key: value for key, value in tensors.items() if key != name}
        if name != "lm_head.weight":  # without it, the embedding is the head
            files.append(write_model(path, keys, others))
            names.append(f"{name}: missing")
        for shape in ((1, tensor.n_weights), (tensor.n_weights, 1), (tensor.n_weights,), ()):
            if shape in (tensor.shape, tensor.shape[::-1]):
                continue
            n = int(np.prod(shape))
            raw = EncodedTensor(RawFormat("f16"), shape, {"raw": np.ones(n, np.float16)})
            files.append(write_model(path, keys, others | {name: raw}))
            names.append(f"{name}: {len(shape)} sides of ")
    for line, name in zip(lines(program, files, tmp_path), names, strict=True):
        assert line.startswith(f"error: tensor {name}"), line
    for value in (np.nan, np.inf, 65504, 0):
        raw = {"raw": np.full(SMALL.d_model, value, np.float16)}
        strange = EncodedTensor(RawFormat("f16"), (SMALL.d_model,), raw)
        changed = tensors | {"model.layers.1.input_layernorm.weight": strange}
        (line,) = lines(program, [write_model(path, keys, changed)], tmp_path)
        assert len(line.split()) == COUNT + 1


@pytest.mark.slow
def test_bytes_that_someone_changed(sanitized: list[str], tmp_path: Path) -> None:
    """Any bytes of the metadata: a line of tokens or of an error, nothing out of bounds."""
    rng = np.random.default_rng(20261122)
    file = with_keys(LLAMA3, {}, tmp_path / "m.gguf")
    first, end = file.index(b"edgecomp.model."), file.index(b"edgecomp.settings")
    files = []
    for _ in range(400):
        changed = bytearray(file)
        for at in rng.integers(first, end, rng.integers(1, 4)):
            changed[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))])
        files.append(bytes(changed))
    found = lines(sanitized, files, tmp_path)
    assert len(found) == len(files)
    broken = [line for line in found if line.startswith("error: ")]
    assert 50 < len(broken) < 400
    good = [line for line in found if not line.startswith("error: ")]
    assert all("error: " in line or len(line.split()) == COUNT + 1 for line in good)
