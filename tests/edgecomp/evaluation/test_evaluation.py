"""Evaluation: figures against transformers' own loss and a float64 oracle, and wrong inputs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgecomp
from edgecomp.checkpoint import CheckpointError, open_checkpoint
from edgecomp.cli.demo import shipped_text
from edgecomp.encode import LatticeSettings
from edgecomp.evaluation import EvaluationError, evaluate_models
from edgecomp.evaluation.generation import continue_text
from edgecomp.evaluation.language_model import (
    LanguageModel,
    build_model,
    load_compressed,
    load_original,
    read_tokens,
)
from edgecomp.evaluation.quality import cut_windows


def weights_of(folder: Path) -> dict[str, Any]:
    checkpoint = open_checkpoint(str(folder))
    return {
        entry.name: checkpoint.source(entry.name).read(0, entry.n_weights).reshape(entry.shape)
        for entry in checkpoint.tensors
    }


def config_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "config.json").read_text()))


@pytest.fixture(scope="module")
def shipped_tokens() -> Any:
    from edgecomp.cli.demo import shipped_model

    return read_tokens(shipped_model() / "tokenizer.json", shipped_text().read_text())


@pytest.fixture
def tokens() -> Any:
    return np.random.default_rng(1).integers(0, 40, 64 * 7 + 5)


def test_same_model_loses_nothing_and_has_transformers_loss(tiny: Path, tokens) -> None:
    original = load_original(open_checkpoint(str(tiny)))
    rebuilt = build_model("rebuilt", config_of(tiny), weights_of(tiny).items())
    result = evaluate_models({"rebuilt": rebuilt}, original, tokens)
    quality = result.candidates["rebuilt"]
    assert (quality.kl, quality.top1) == (0.0, 1.0)
    assert quality == result.original
    assert (quality.windows, quality.context, quality.tokens) == (7, 64, 7 * 63)
    windows = torch.from_numpy(tokens[: 64 * 7].reshape(7, 64))
    with torch.inference_mode():
        loss = original.network(input_ids=windows, labels=windows).loss
    assert quality.ppl == pytest.approx(math.exp(float(loss)), rel=1e-6)


def test_figures_equal_a_float64_oracle(tiny: Path, tokens) -> None:
    original = load_original(open_checkpoint(str(tiny)))
    weights = weights_of(tiny)
    rng = np.random.default_rng(2)
    noisy = {
        name: (array + 0.1 * rng.standard_normal(array.shape)).astype(np.float32)
        for name, array in weights.items()
    }
    other = build_model("noisy", config_of(tiny), noisy.items())
    quality = evaluate_models({"noisy": other}, original, tokens, windows=3).candidates["noisy"]
    windows = tokens[: 3 * 64].reshape(3, 64)
    log_p = original.logits(windows).double()[:, :-1].log_softmax(-1).numpy()
    log_q = other.logits(windows).double()[:, :-1].log_softmax(-1).numpy()
    nll = -np.take_along_axis(log_q, windows[:, 1:, None], -1).mean()
    kl = (np.exp(log_p) * (log_p - log_q)).sum(-1).mean()
    assert kl > 0.01
    assert quality.kl == pytest.approx(kl, rel=1e-4)
    assert quality.ppl == pytest.approx(math.exp(nll), rel=1e-6)
    assert quality.top1 == (log_p.argmax(-1) == log_q.argmax(-1)).mean()
    assert 0 < quality.top1 < 1


def test_candidates_do_not_depend_on_each_other(tiny: Path, tokens) -> None:
    original = load_original(open_checkpoint(str(tiny)))
    half = {name: array / 2 for name, array in weights_of(tiny).items()}
    models = {
        "half": build_model("half", config_of(tiny), half.items()),
        "same": build_model("same", config_of(tiny), weights_of(tiny).items()),
    }
    together = evaluate_models(models, original, tokens)
    for name, model in models.items():
        alone = evaluate_models({name: model}, original, tokens)
        assert alone.candidates[name] == together.candidates[name]
    assert evaluate_models({}, original, tokens).original == together.original


def test_untied_head_is_loaded(tmp_path: Path, model_writer, tensors, tokens) -> None:
    head = np.random.default_rng(3).standard_normal((40, 16)).astype(np.float32)
    folder = model_writer(
        tmp_path / "untied", tensors | {"lm_head.weight": head}, tie_word_embeddings=False
    )
    rebuilt = build_model("rebuilt", config_of(folder), weights_of(folder).items())
    assert np.array_equal(rebuilt.network.lm_head.weight.detach().numpy(), head)
    result = evaluate_models(
        {"rebuilt": rebuilt}, load_original(open_checkpoint(str(folder))), tokens, 2
    )
    assert result.candidates["rebuilt"].kl == 0


def test_networks_that_do_not_fit(tiny: Path) -> None:
    weights, config = weights_of(tiny), config_of(tiny)

    def refused(config: dict[str, Any], weights: dict[str, Any], reason: str) -> None:
        with pytest.raises(CheckpointError, match=reason):
            build_model("m", config, weights.items())

    missing = {name: array for name, array in weights.items() if "norm" not in name}
    refused(config, missing, "layernorm.weight is missing")
    refused(config, weights | {"ghost": np.ones(2, np.float32)}, "tensor ghost has no place")
    turned = weights | {"model.norm.weight": np.ones((4, 4), np.float32)}
    refused(config, turned, "model.norm.weight is")
    refused(config | {"model_type": "no-such"}, weights, "transformers cannot load it")
    refused(config | {"model_type": "bert"} | {"hidden_size": 15}, weights, "cannot load it")
    (tiny / "config.json").write_text('{"model_type": "no-such"}')
    with pytest.raises(CheckpointError, match="transformers cannot load it"):
        load_original(open_checkpoint(str(tiny)))


@pytest.mark.parametrize(
    ("n_tokens", "windows", "reason"),
    [
        (63, None, "63 tokens, expected 64"),
        (0, None, "0 tokens, expected 64"),
        (640, 11, "640 tokens, expected 704"),
        (640, 0, "windows is 0"),
    ],
)
def test_texts_that_are_too_short(n_tokens: int, windows: int | None, reason: str) -> None:
    model = LanguageModel("m", None, vocab_size=40, context=64)
    with pytest.raises(EvaluationError, match=reason):
        cut_windows(np.zeros(n_tokens, np.int64), [model], windows)


def test_windows_are_cut_by_the_shortest_context() -> None:
    short = LanguageModel("short", None, vocab_size=9, context=8)
    long = LanguageModel("long", None, vocab_size=9, context=None)
    tokens = np.arange(20) % 9
    assert cut_windows(tokens, [long, short], None).tolist() == [
        tokens[:8].tolist(),
        tokens[8:16].tolist(),
    ]
    assert cut_windows(np.zeros(600, np.int64), [long], None).shape == (2, 256)
    with pytest.raises(EvaluationError, match="token 9, the model knows 9"):
        cut_windows(np.full(20, 9), [short], None)
    other = LanguageModel("other", None, vocab_size=10, context=8)
    with pytest.raises(EvaluationError, match="vocabularies differ"):
        cut_windows(tokens, [short, other], None)


def test_container_against_its_model_and_another(
    tmp_path: Path, bookworm: Path, tiny: Path
) -> None:
    (tiny / "tokenizer.json").write_bytes((bookworm / "tokenizer.json").read_bytes())
    out = tmp_path / "tiny.gguf"
    edgecomp.compress(tiny, out, LatticeSettings(bits=4.0, group=16))
    text = tmp_path / "text.txt"
    text.write_text("words " * 100)
    with pytest.raises(EvaluationError, match="the model knows 40 tokens"):
        edgecomp.evaluate(out, tiny, text)
    (tiny / "tokenizer.json").unlink()
    with pytest.raises(EvaluationError, match=r"no tokenizer\.json"):
        edgecomp.evaluate(out, tiny, text)
    other = json.loads((bookworm / "tokenizer.json").read_text())
    other["model"]["vocab"] = {token[::-1] + "x": i for token, i in other["model"]["vocab"].items()}
    (tiny / "tokenizer.json").write_text(json.dumps(other))
    with pytest.raises(EvaluationError, match="different vocabularies"):
        edgecomp.evaluate(out, tiny, text)


@pytest.mark.parametrize("tokenizer", [True, False])
def test_container_against_another_model_of_the_same_vocabulary(
    tmp_path: Path, bookworm: Path, tiny: Path, tensors, model_writer, tokenizer: bool
) -> None:
    """Other shapes, other names, a tensor too many, one too few; with tokens stored and without."""
    tokens = json.loads((bookworm / "tokenizer.json").read_text())
    if tokenizer:
        (tiny / "tokenizer.json").write_text(json.dumps(tokens))
    out, text = tmp_path / "tiny.gguf", tmp_path / "text.txt"
    edgecomp.compress(tiny, out, LatticeSettings(bits=4.0, group=16))
    text.write_text("words " * 100)
    norm = tensors["model.norm.weight"]
    few = {name: array for name, array in tensors.items() if name != "model.norm.weight"}
    name = "model.layers.0.mlp.down_proj.weight"
    for changed, reason in (
        (tensors | {name: tensors[name].T.copy()}, r"down_proj.weight is \[16, 24\] in the contain"
         r"er, is \[24, 16\] in the original"),
        (few | {"model.last.weight": norm}, r"model.last.weight is missing in the container, "
         r"is \[16\] in the original"),
        (tensors | {"a.weight": norm}, "a.weight is missing in the container"),
        (few, r"model.norm.weight is \[16\] in the container, is missing in the original"),
    ):  # fmt: skip
        folder = model_writer(tmp_path / "other", changed)
        (folder / "tokenizer.json").write_text(json.dumps(tokens))
        with pytest.raises(EvaluationError, match=reason) as caught:
            edgecomp.evaluate(out, folder, text)
        assert "made from" in caught.value.hint


@pytest.mark.slow
def test_shipped_model_has_its_published_perplexity(bookworm: Path, shipped_tokens) -> None:
    quality = evaluate_models(
        {}, load_original(open_checkpoint(str(bookworm))), shipped_tokens, 64
    ).original
    assert quality.ppl == pytest.approx(67.74, abs=0.005)
    assert (quality.windows, quality.context, quality.tokens) == (64, 256, 64 * 255)


def test_shipped_text_is_just_long_enough(shipped_tokens) -> None:
    assert 64 * 256 <= shipped_tokens.size < 66 * 256


@pytest.mark.slow
def test_compressed_model_goes_the_whole_way(tmp_path: Path, bookworm: Path) -> None:
    out = tmp_path / "b.gguf"
    edgecomp.compress(bookworm, out, LatticeSettings(bits=6.0, dim=1, reach=0))
    result = edgecomp.evaluate(out, bookworm, shipped_text(), windows=2)
    quality = result.candidates["b.gguf"]
    assert 0 < quality.kl < 0.05
    assert quality.top1 > 0.8
    model = load_compressed(out)
    tokenizer = bookworm / "tokenizer.json"
    first = continue_text(model, tokenizer, "The old man", 5)
    assert first == continue_text(model, tokenizer, "The old man", 5)
    drawn = {continue_text(model, tokenizer, "The old man", 5, seed) for seed in (1, 1, 2)}
    assert len(drawn) == 2
