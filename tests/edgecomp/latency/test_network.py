"""Multiplications of networks that are no language models, against sums made by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from transformers import BertConfig, ResNetConfig

from edgecomp.encode import UniformSettings
from edgecomp.latency.language_model import LatencyError
from edgecomp.latency.network import network
from edgecomp.latency.stored import StoredModel, planned_model

WIDE, INNER, LAYERS, TOKENS = 64, 128, 2, 10


def bert_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "embeddings.word_embeddings.weight", (100, WIDE)
    for i in range(LAYERS):
        for name in ("attention.self.query", "attention.self.key", "attention.self.value",
                     "attention.output.dense"):  # fmt: skip
            yield f"encoder.layer.{i}.{name}.weight", (WIDE, WIDE)
        yield f"encoder.layer.{i}.intermediate.dense.weight", (INNER, WIDE)
        yield f"encoder.layer.{i}.output.dense.weight", (WIDE, INNER)
    yield "pooler.dense.weight", (WIDE, WIDE)


def bert(prefix: str = "") -> StoredModel:
    config = BertConfig(
        hidden_size=WIDE, intermediate_size=INNER, num_hidden_layers=LAYERS,
        num_attention_heads=2, vocab_size=100,
    ).to_dict()  # fmt: skip
    shapes = ((prefix + name, shape) for name, shape in bert_shapes())
    return planned_model("bert", shapes, config, UniformSettings(8))


def test_an_encoder() -> None:
    found = network(bert(), TOKENS, None)
    matrices = {each.name: each for each in found.operations if each.kernel}
    assert len(matrices) == 6 * LAYERS + 1
    dense = matrices["encoder.layer.1.intermediate.dense"]
    assert (dense.multiplies, dense.weights) == (TOKENS * WIDE * INNER, WIDE * INNER)
    assert dense.kernel == "uniform-8"
    assert matrices["pooler.dense"].multiplies == WIDE * WIDE
    attention = [each for each in found.operations if not each.kernel]
    assert [each.multiplies for each in attention] == [2 * TOKENS * TOKENS * WIDE] * LAYERS
    assert found.activation_bytes >= 4 * TOKENS * (WIDE + INNER)


def test_a_checkpoint_with_a_prefix() -> None:
    """Names in files may have the name of the model before them."""
    assert network(bert("bert."), TOKENS, None) == network(bert(), TOKENS, None)


def test_a_convolutional_net() -> None:
    """Of the first convolution: 7 x 7 over 3 channels, at every second place of a 32 x 32 image."""
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    ).to_dict()
    name = "embedder.embedder.convolution"
    shapes = [(f"{name}.weight", (8, 3, 7, 7))]
    stored = planned_model("net", shapes, config, UniformSettings(8))
    found = network(stored, 1, (3, 32, 32))
    first = next(each for each in found.operations if each.name == name)
    assert first.multiplies == 8 * 3 * 49 * 16 * 16
    assert first.weights == 8 * 3 * 49


@pytest.mark.parametrize(
    ("config", "image", "reason"),
    [
        ({"model_type": "unheard-of"}, None, "transformers cannot build this network"),
        ({}, None, "transformers cannot build this network"),
        ({"model_type": "resnet"}, (4, 32, 32), "does not take this input"),
    ],
)
def test_networks_that_cannot_be_counted(
    config: dict[str, object], image: tuple[int, int, int] | None, reason: str
) -> None:
    keys = {"config": json.dumps(config)}
    with pytest.raises(LatencyError, match=reason):
        network(StoredModel("net", {}, keys, 0), 4, image)
