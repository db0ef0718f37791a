"""The work of a model, of its container and before there is one; and its memory, as it runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from random_llama import Shape, write_random_container

from devices.memory import peak_resident
from edgecomp.encode import (
    CrvqSettings,
    LatticeSettings,
    PaperSettings,
    Settings,
    TrellisSettings,
    UniformSettings,
)
from edgecomp.latency.language_model import LatencyError, language_model
from edgecomp.latency.stored import StoredModel, container_model, planned_model
from tests.runtime_ops.edgecomp_run import build, run
from tests.runtime_ops.tiny_llama import tiny_llama

SHAPE = Shape(n_layers=2, d_model=256, d_ff=704, n_heads=8, n_kv_heads=2, n_vocab=2000)
CODECS: tuple[Settings, ...] = (
    TrellisSettings(2, 8, table_entries=64),
    TrellisSettings(3, critical=0.02, critical_bits=6, importance="weight"),
    TrellisSettings(2, embedding_codec="uniform", outer_bits=4),
    UniformSettings(4),
    LatticeSettings(3),
    LatticeSettings(3, critical=0.02, importance="weight"),
    CrvqSettings(),
    PaperSettings(),
)
# Larger than what else is resident; the last one's embedding is a file's largest part.
RUNS: dict[str, tuple[Shape, Settings]] = {
    "trellis": (Shape(8, 768, 2048, 12, 4, 8000), TrellisSettings(2)),
    "uniform": (Shape(6, 512, 1408, 8, 8, 4000, tied=True), UniformSettings(8)),
    "lattice": (Shape(3, 768, 1024, 12, 4, 48000), LatticeSettings(4)),
}


@pytest.mark.parametrize("settings", CODECS, ids=str)
def test_planned_is_what_is_stored(settings: Settings, tmp_path: Path) -> None:
    """Formats that are planned from shapes have the kernels and bytes of a container."""
    path = tmp_path / "model.gguf"
    write_random_container(path, "model", SHAPE, settings)
    stored = language_model(container_model(path))
    planned = planned_model("model", SHAPE.tensors(), SHAPE.config(), settings)
    expected = replace(language_model(planned), file_bytes=stored.file_bytes)
    assert stored == expected
    assert planned.file_bytes == pytest.approx(stored.file_bytes, abs=2_100_000)


def test_matrices_that_share_an_input_are_one_loop() -> None:
    planned = planned_model("m", SHAPE.tensors(), SHAPE.config(), TrellisSettings(2))
    model = language_model(planned)
    assert [len(loop.products) for loop in model.layers[0].loops] == [3, 1, 2, 1]
    assert [loop.rotated for loop in model.layers[0].loops] == [256, 256, 256, 704]
    assert model.head.quantised == 256
    tied = replace(SHAPE, tied=True)
    same = language_model(planned_model("m", tied.tensors(), tied.config(), TrellisSettings(2)))
    assert same.token_bytes == model.token_bytes
    assert same.file_bytes < model.file_bytes


def test_matrices_that_do_not_share_an_input_are_several() -> None:
    """crvq orders each matrix's columns by itself, unless the orders are the same."""
    planned = planned_model("m", SHAPE.tensors(), SHAPE.config(), UniformSettings(4))
    other = planned_model("m", SHAPE.tensors(), SHAPE.config(), TrellisSettings(2))
    query = "model.layers.0.self_attn.q_proj.weight"
    tensors = dict(planned.tensors) | {query: other.tensors[query]}
    mixed = language_model(StoredModel("m", tensors, planned.keys, 1))
    assert [len(loop.products) for loop in mixed.layers[0].loops] == [1, 2, 1, 2, 1]


def test_token_bytes_are_those_of_the_runner(tmp_path: Path) -> None:
    path = tiny_llama(tmp_path / "tiny.gguf")
    program = build("native", tmp_path)
    words = ("--prefill", 1, "--generate", 1, "--rounds", 1, "--threads", 1, "--json")
    row = json.loads(run(program, "bench", path, *words).stdout)
    model = language_model(container_model(path))
    norms = 4 * (2 * 2 + 1) * 64
    row_bytes = model.head.n_bytes // model.n_vocab
    assert row["token_bytes"] == model.token_bytes + norms + row_bytes
    assert row["kv_bytes"] == model.kv_bytes(2, "f16")


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_peak_memory_within_a_tenth(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_random_container(path, name, *RUNS[name])
    model = language_model(container_model(path))
    program = build("native", tmp_path)
    for threads, kv, prefill in ((1, "f16", 150), (2, "int8", 600)):
        words = ("--prefill", prefill, "--generate", 2, "--rounds", 1, "--threads", threads)
        row = json.loads(run(program, "bench", path, *words, "--kv", kv, "--json").stdout)
        found = peak_resident(model, prefill + 2, threads, "int8" if kv == "int8" else "f16")
        assert found.kv == row["kv_bytes"]
        assert found.total == pytest.approx(row["peak_resident_bytes"], rel=0.1)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"architecture": "bert"}, "architecture bert, expected llama"),
        ({"block_count": 0}, "block_count is 0"),
        ({"block_count": 3}, "no matrix model.layers.2.self_attn.q_proj.weight"),
        ({"embedding_length": "wide"}, "embedding_length is 'wide'"),
    ],
)
def test_models_that_cannot_be_predicted(keys: dict[str, str | int], reason: str) -> None:
    planned = planned_model("m", SHAPE.tensors(), SHAPE.config(), UniformSettings(4))
    with pytest.raises(LatencyError, match=reason):
        language_model(replace(planned, keys=dict(planned.keys) | keys))
