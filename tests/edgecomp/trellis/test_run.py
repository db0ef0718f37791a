"""Tuning of a small Llama's trellis codes from end to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecomp.calibration import open_statistics
from edgecomp.calibration.windows import cut_windows
from edgecomp.checkpoint import open_checkpoint
from edgecomp.encode import TrellisSettings
from edgecomp.encode.trellis.tensor import InputStatistics, encode_trellis
from edgecomp.evaluation import build_model, load_original, read_tokens
from edgecomp.progress import Step
from edgecomp.trellis.run import TrellisJob, TunedTrellis, tune_trellis
from runtime_ops.formats import EncodedTensor
from runtime_ops.native import decode

CONTEXT = 32


@pytest.fixture
def job_of(
    small_llama: Path, small_text: Path, small_statistics: Path, tmp_path: Path
) -> Callable[..., TrellisJob]:
    """A function from settings to a job on the Llama's blocks."""
    checkpoint = open_checkpoint(str(small_llama))
    statistics = open_statistics(small_statistics, checkpoint)
    tokens = read_tokens(checkpoint.tokenizer, small_text.read_text())

    def make(**settings: object) -> TrellisJob:
        held = TrellisSettings(**({"bits": 1.0, "state_bits": 8, "epochs": 160.0} | settings))
        first = {}
        for site in statistics.sites:
            for name in site.tensors:
                if "layers" in name:
                    hessian = statistics.hessian(name)
                    known = InputStatistics(np.diagonal(hessian).copy(), hessian)
                    first[name] = encode_trellis(checkpoint.source(name), held, name, known)
        (tmp_path / "work").mkdir(exist_ok=True)
        return TrellisJob(
            checkpoint=checkpoint,
            settings=held,
            tokens=torch.from_numpy(cut_windows(tokens, tokens.size // CONTEXT, CONTEXT, 48)),
            original=lambda: load_original(checkpoint).network,
            student=lambda: load_original(checkpoint).network,
            device=torch.device("cpu"),
            folder=tmp_path / "work",
            progress=lambda step: None,
            statistics=statistics,
            first=first,
        )

    return make


def divergence(
    job: TrellisJob, tensors: Mapping[str, EncodedTensor], vectors: Mapping[str, np.ndarray]
) -> float:
    """KL divergence from the original on the job's text, in nats."""
    weights = []
    for entry in job.checkpoint.tensors:
        own = job.checkpoint.source(entry.name).read(0, entry.n_weights).reshape(entry.shape)
        own = vectors.get(entry.name, own)
        weights.append((entry.name, decode(tensors[entry.name]) if entry.name in tensors else own))
    model = build_model("tuned", job.checkpoint.config, weights)
    original = load_original(job.checkpoint)
    tokens = job.tokens.numpy()
    wanted, found = (m.logits(tokens).log_softmax(-1) for m in (original, model))
    return float((wanted.exp() * (wanted - found)).sum(-1).mean())


def same(a: TunedTrellis, b: TunedTrellis) -> bool:
    if set(a.tensors) != set(b.tensors) or set(a.vectors) != set(b.vectors):
        return False
    formats = all(a.tensors[name].format == b.tensors[name].format for name in a.tensors)
    parts = all(
        np.array_equal(part, b.tensors[name].parts[key])
        for name in a.tensors
        for key, part in a.tensors[name].parts.items()
    )
    vectors = all(np.array_equal(vector, b.vectors[name]) for name, vector in a.vectors.items())
    return formats and parts and vectors


def codes_of(tensors: Mapping[str, EncodedTensor]) -> list[bytes]:
    return [tensors[name].parts["codes"].tobytes() for name in sorted(tensors)]


def test_nothing_is_tuned_without_finetune(job_of) -> None:
    job = job_of(finetune="none")
    found = tune_trellis(job)
    assert set(found.tensors) == set(job.first)
    assert found.vectors == {}
    assert codes_of(found.tensors) == codes_of(job.first)
    assert list(job.folder.iterdir()) == []


@pytest.mark.parametrize("finetune", ["block", "end-to-end"])
@pytest.mark.parametrize("move_codes", [False, True])
def test_tuning_lowers_the_divergence(job_of, finetune: str, move_codes: bool) -> None:
    job = job_of(finetune=finetune, move_codes=move_codes)
    found = tune_trellis(job)
    before = divergence(job, job.first, {})
    assert (
        divergence(job, found.tensors, found.vectors)
        < (0.9 if finetune == "block" else 0.7) * before
    )
    assert (codes_of(found.tensors) == codes_of(job.first)) != move_codes
    assert "model.layers.0.input_layernorm.weight" in found.vectors
    assert ("model.norm.weight" in found.vectors) == (finetune == "end-to-end")
    groups = {name.split("layers.")[1][2:]: t.format.table for name, t in found.tensors.items()}
    for name, tensor in found.tensors.items():
        assert tensor.format.table == groups[name.split("layers.")[1][2:]]
    assert same(found, tune_trellis(job))  # from its files


@pytest.mark.parametrize("finetune", ["block", "end-to-end"])
def test_a_run_that_was_killed_goes_on(job_of, finetune: str) -> None:
    job = job_of(finetune=finetune, epochs=80.0)
    expected = tune_trellis(job)
    for file in job.folder.iterdir():
        file.unlink()

    def kill(step: Step) -> None:
        if step.items_done > step.items // 2 + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_trellis(replace(job, progress=kill))
    kept = {file.name for file in job.folder.iterdir() if file.suffix == ".safetensors"}
    assert kept == ({"trellis-block-0000.safetensors"} if finetune == "block" else set())
    assert same(tune_trellis(job), expected)


def test_critical_columns_are_tuned_as_well(job_of) -> None:
    job = job_of(finetune="end-to-end", critical=0.25)
    critical = [name for name, tensor in job.first.items() if "critical_codes" in tensor.parts]
    assert critical
    found = tune_trellis(job)
    for name in critical:
        parts, first = found.tensors[name].parts, job.first[name].parts
        assert list(parts) == list(first)
        assert not np.array_equal(parts["critical_scales"], first["critical_scales"])
        order = job.first[name].format.permutation
        assert found.tensors[name].format.permutation == order
    assert divergence(job, found.tensors, found.vectors) < 0.7 * divergence(job, job.first, {})
