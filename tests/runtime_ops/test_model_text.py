"""Texts that models write: the C runner's tokens, and logits, are those of the references."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import edgecomp
from edgecomp.checkpoint import hyperparameters
from edgecomp.cli.demo import shipped_model
from edgecomp.encode import TrellisSettings
from edgecomp.evaluation import load_compressed
from exporters.gguf import open_container
from runtime_ops.formats import EncodedTensor, RawFormat
from runtime_ops.native_model import ModelOptions, NativeModel
from runtime_ops.reference.llama import Session, llama
from tests.runtime_ops import harness
from tests.runtime_ops.llama2c import Weights, in_halves, pieces, read_model, stories
from tests.runtime_ops.model_program import run_model
from tests.runtime_ops.random_models import write_model

N_TOKENS = 256
STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
)


@dataclass(frozen=True)
class Text:
    """A container, and how the reference continues a prompt: likeliest tokens, and all logits."""

    data: bytes
    path: Path
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    logits: NDArray[np.float32]  # (N_TOKENS, n_vocab)


def text_of(path: Path, prompt: tuple[int, ...]) -> Text:
    """The text by the numpy reference."""
    with open_container(path) as container:
        names = {entry.name for entry in container.tensors}
        model = llama(container.model, lambda n: container.read(n) if n in names else None)
        session = Session(model)
        logits, tokens = [session.eval(prompt)], []
        for _ in range(N_TOKENS):
            tokens.append(int(logits[-1].argmax()))
            logits.append(session.eval(tokens[-1:]))
        del session, model
    return Text(path.read_bytes(), path, prompt, tuple(tokens), np.stack(logits[:-1]))


@pytest.fixture(scope="module")
def bookworm_text(tmp_path_factory: pytest.TempPathFactory) -> Text:
    """Bookworm at 2 bits, behind the first lines of its validation text."""
    from tokenizers import Tokenizer

    path = tmp_path_factory.mktemp("bookworm") / "bookworm.gguf"
    edgecomp.compress(shipped_model(), path, TrellisSettings(bits=2.0))
    tokenizer = Tokenizer.from_file(str(shipped_model() / "tokenizer.json"))
    valid = (shipped_model().parent / "bookworm_valid.txt").read_text(encoding="utf-8")
    return text_of(path, tuple(tokenizer.encode(valid[:400]).ids))


@pytest.fixture(scope="module")
def stories_text(tmp_path_factory: pytest.TempPathFactory) -> Text:
    """stories260k at 4 bits, from its first token on."""
    from safetensors.numpy import save_file

    config, weights = read_model(stories() / "stories260K.bin")
    folder = tmp_path_factory.mktemp("stories")
    halves = in_halves(weights, 8)
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    edgecomp.compress(folder, folder / "stories.gguf", TrellisSettings(bits=4.0))
    return text_of(folder / "stories.gguf", (1,))


def check_text(text: Text, options: ModelOptions) -> None:
    """The C runner writes the same, with the same logits."""
    with NativeModel(text.data, options) as model:
        logits = model.eval(text.prompt)
        for token, expected in zip(text.tokens, text.logits, strict=True):
            assert int(logits.argmax()) == token
            assert np.array_equal(logits.view(np.uint32), expected.view(np.uint32))
            logits = model.eval([token])


@pytest.mark.slow
def test_bookworm(bookworm_text: Text) -> None:
    assert len(set(bookworm_text.tokens)) > 10
    check_text(bookworm_text, ModelOptions(threads=2))


@pytest.mark.slow
def test_stories(stories_text: Text) -> None:
    check_text(stories_text, ModelOptions(threads=2))
    words = b"".join(pieces(stories() / "tok512.bin")[token] for token in stories_text.tokens)
    assert words.decode().startswith(" Once upon a time")


# The larger model once for each architecture, the small one on every core.
OTHER_MACHINES = [
    *(("bookworm_text", target) for target in ("native", "sanitized", "aarch64", "armv7")),
    *(("stories_text", target) for target in harness.TARGETS if target != "clang"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("text", "target"), OTHER_MACHINES)
def test_other_machines(
    text: str, target: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The same tokens, and a checksum over the same logits, from a C program."""
    expected: Text = request.getfixturevalue(text)
    n = 32 if target == "sanitized" else N_TOKENS
    program = harness.command("model", target, tmp_path)
    (result,) = run_model(program, [expected.data], tmp_path, (n, expected.prompt))
    assert result.tokens == expected.tokens[:n]
    assert result.has_logits(expected.logits[:n])


@pytest.mark.slow
def test_near_transformers(bookworm_text: Text) -> None:
    """Against the network of transformers with the same decoded weights, plain activations."""
    text = bookworm_text
    tokens = np.array([[*text.prompt, *text.tokens[:-1]]], np.int64)
    network = load_compressed(text.path)
    theirs = network.logits(tokens).numpy()[0, len(text.prompt) - 1 :].astype(np.float64)
    ours = text.logits.astype(np.float64)
    theirs -= np.log(np.exp(theirs).sum(axis=1, keepdims=True))
    ours -= np.log(np.exp(ours).sum(axis=1, keepdims=True))
    divergence = (np.exp(theirs) * (theirs - ours)).sum(axis=1)
    assert divergence.mean() < 2e-3
    assert (theirs.argmax(axis=1) == ours.argmax(axis=1)).mean() > 0.95


def raw(weights: Weights) -> dict[str, EncodedTensor]:
    """Tensors in float32."""
    return {
        name: EncodedTensor(RawFormat("f32"), array.shape, {"raw": array.reshape(-1)})
        for name, array in weights.items()
    }


def test_a_known_story_in_both_layouts(tmp_path: Path) -> None:
    """In float32 stories260k writes what llama2.c writes, heads in halves or interleaved."""
    config, weights = read_model(stories() / "stories260K.bin")
    words = pieces(stories() / "tok512.bin")
    texts = []
    for changes, tensors in (
        ({}, in_halves(weights, 8)),
        ({"rope_interleaved": True}, weights),
    ):
        keys = hyperparameters(config | changes)
        data = write_model(tmp_path / "stories.gguf", keys, raw(tensors))
        with NativeModel(data) as model:
            tokens = [1]
            for _ in range(N_TOKENS):
                tokens.append(int(model.eval(tokens[-1:]).argmax()))
        texts.append(b"".join(words[token] for token in tokens[1:]).decode())
    assert texts[0] == texts[1]
    assert texts[0].lstrip().startswith(STORY)
