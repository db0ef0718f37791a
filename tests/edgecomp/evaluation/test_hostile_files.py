"""Damaged containers, configs and tokenizers: known errors, whatever is changed."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecomp
from edgecomp.checkpoint import CheckpointError, open_checkpoint
from edgecomp.cli.report import inspect_object, print_inspect, print_json
from edgecomp.encode import LatticeSettings
from edgecomp.evaluation import EvaluationError, load_compressed, load_original, read_tokens
from exporters.bundle import ModelBundle, TensorSource
from exporters.gguf import ContainerError, open_container, write_container
from runtime_ops.formats import FormatError
from runtime_ops.native import NativeError

KNOWN = (ContainerError, FormatError, NativeError, CheckpointError, OSError)
N_MUTANTS = 400
VALUES = (None, True, -1, 0, 1 << 40, 1e30, float("nan"), "", "gelu", [], [1], {}, {"a": {"b": []}})
BPE = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
       "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                         "use_regex": True}}  # fmt: skip


@pytest.fixture
def container(tiny: Path, tmp_path: Path) -> Path:
    """A container of the tiny model."""
    path = tmp_path / "m.gguf"
    edgecomp.compress(tiny, path, LatticeSettings(bits=4.0, group=16))
    return path


def bundle_of(path: Path) -> ModelBundle:
    """The bundle that a container was written from."""
    container = open_container(path)
    sources = tuple(
        TensorSource(entry.name, lambda name=entry.name: container.read(name))
        for entry in container.tensors
    )
    return ModelBundle(container.name, sources, container.settings, container.model)


def mutant(content: bytes, random: np.random.Generator) -> bytes:
    """The file cut, or with one or two bytes changed, half of them in its header."""
    if random.random() < 0.1:
        return content[: random.integers(0, len(content))]
    changed = bytearray(content)
    end = len(changed) if random.random() < 0.5 else min(len(changed), 6000)
    for _ in range(random.integers(1, 3)):
        at = random.integers(0, end)
        changed[at] = random.integers(0, 256) if random.random() < 0.5 else changed[at] ^ 1
    return bytes(changed)


def test_changed_containers_give_known_errors(container: Path, capsys) -> None:
    content = container.read_bytes()
    random = np.random.default_rng(7)
    refused = damaged = loaded = 0
    for _ in range(N_MUTANTS):
        container.write_bytes(mutant(content, random))
        try:
            found = edgecomp.inspect(container, verify=True)
        except KNOWN:
            refused += 1
            with pytest.raises(KNOWN):
                load_compressed(container)
            continue
        print_inspect(found)
        print_json(inspect_object(found))
        if found.damaged:
            damaged += 1
            with pytest.raises(ContainerError, match="do not match their checksum"):
                load_compressed(container)
            continue
        try:
            load_compressed(container)
            loaded += 1
        except KNOWN:
            refused += 1
    assert all(c.isprintable() or c == "\n" for c in capsys.readouterr().out)
    assert min(refused, damaged, loaded) > 0


def changed_config(config: dict[str, Any], random: np.random.Generator) -> Any:
    """A config with one or two fields of other values, or without them."""
    changed = copy.deepcopy(config)
    for _ in range(random.integers(1, 3)):
        key = sorted(config)[random.integers(0, len(config))]
        value = VALUES[random.integers(0, len(VALUES))]
        if random.random() < 0.2:
            changed.pop(key, None)
        else:
            changed[key] = value
    return changed


@pytest.mark.slow
def test_changed_configs_give_known_errors(container: Path, tmp_path: Path, tiny: Path) -> None:
    bundle = bundle_of(container)
    config = json.loads((tiny / "config.json").read_text())
    random = np.random.default_rng(8)
    configs = [json.dumps(changed_config(config, random)) for _ in range(150)]
    nested = {"model_type": "gemma3", "text_config": config}
    configs += ["[]", "3", "{}", "[" * 10_000, "{", '{"model_type": ["llama"]}', json.dumps(nested)]
    path = tmp_path / "changed.gguf"
    loaded = 0
    refused: list[tuple[str, str]] = []
    for text in configs:
        write_container(replace(bundle, model={"config": text}), path)
        try:
            load_compressed(path)
            loaded += 1
        except CheckpointError as error:
            refused.append((str(error), error.hint))
    assert all(hint and "\n" not in message for message, hint in refused)
    assert loaded > 10
    assert len(refused) > 50


def test_container_without_a_config(container: Path) -> None:
    write_container(replace(bundle_of(container), model={}), container.with_name("x.gguf"))
    with pytest.raises(CheckpointError, match="holds no model config"):
        load_compressed(container.with_name("x.gguf"))


def test_one_flipped_bit_of_the_codes_is_seen(container: Path) -> None:
    load_compressed(container)
    content = bytearray(container.read_bytes())
    with open_container(container) as opened:
        codes = opened.read("model.layers.0.mlp.up_proj.weight").parts["codes"].tobytes()
    content[content.index(codes) + 5] ^= 1
    container.write_bytes(content)
    with pytest.raises(ContainerError, match=r"1 tensors .*model\.layers\.0\.mlp\.up_proj\.weight"):
        load_compressed(container)


def test_file_is_given_back(container: Path) -> None:
    load_compressed(container)
    edgecomp.inspect(container, verify=True)
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(container) not in maps.read_text()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model": {"type": "Other"}}', "\xff"])
def test_tokenizers_that_cannot_be_read(container, tiny: Path, tmp_path: Path, text: str) -> None:
    (tiny / "tokenizer.json").write_text(text, encoding="latin-1")
    words = tmp_path / "text.txt"
    words.write_text("words " * 100)
    with pytest.raises(CheckpointError, match="not a tokenizer") as caught:
        read_tokens(tiny / "tokenizer.json", "words")
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="not a tokenizer"):
        edgecomp.evaluate(container, tiny, words)


def test_tokenizer_that_became_inexpressible(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    (tiny / "tokenizer.json").write_text(json.dumps(BPE))
    edgecomp.compress(tiny, path, LatticeSettings(bits=4.0, group=16))
    with open_container(path) as opened:
        assert opened.tokenizer
    (tiny / "tokenizer.json").write_text("{}")
    with pytest.raises(EvaluationError, match="cannot be read") as caught:
        edgecomp.evaluate(path, tiny, tmp_path / "text.txt")
    assert caught.value.hint


def test_original_that_is_not_complete_is_refused(tiny: Path) -> None:
    """Nothing is filled in at random, and no code of the model's folder is run."""
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(CheckpointError, match="is missing"):
        load_original(open_checkpoint(str(tiny)))
    (tiny / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    with pytest.raises(CheckpointError, match="has no place in the network"):
        load_original(open_checkpoint(str(tiny)))
    code = {"AutoConfig": "conf.Conf", "AutoModelForCausalLM": "conf.Model"}
    (tiny / "conf.py").write_text("open('ran', 'w').close()")
    (tiny / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": code}))
    with pytest.raises(CheckpointError, match="transformers cannot load it"):
        load_original(open_checkpoint(str(tiny)))
    assert not Path("ran").exists()


def test_config_of_the_original_that_transformers_refuses(tiny: Path) -> None:
    config = json.loads((tiny / "config.json").read_text())
    for change in ({"num_attention_heads": 0}, {"hidden_act": 7}, {"rope_theta": "x"}):
        (tiny / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(CheckpointError) as caught:
            load_original(open_checkpoint(str(tiny)))
        assert caught.value.hint
