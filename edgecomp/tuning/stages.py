"""The stages of tuning, each kept in a folder, so that a run that was killed goes on.

Block by block, then end to end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from edgecomp.calibration import open_streamed
from edgecomp.checkpoint import Checkpoint
from edgecomp.evaluation.tensor_names import network_names
from edgecomp.progress import ProgressCallback, Step
from edgecomp.tuning.seeds import seeded
from edgecomp.tuning.stage_file import is_whole
from edgecomp.tuning.tunable import Codec, T, TunableModel, TuneSettings
from edgecomp.tuning.tune_blocks import BlockTuner
from edgecomp.tuning.tune_model import Teaching, tune_model

__all__ = ["TuningJob", "parameter_names", "tuned"]


@dataclass(frozen=True)
class TuningJob:
    """What tuning works on and whom it tells.

    `tokens` int64 (windows, length) is the calibration text. `original` makes the network as it
    came, `student` the one with the weights outside of the linears as they are stored; only
    end-to-end tuning calls them, and needs both in memory. Files go to `folder`, and their names
    begin with the codec's `stem`.
    """

    checkpoint: Checkpoint
    settings: TuneSettings
    tokens: Tensor
    original: Callable[[], nn.Module]
    student: Callable[[], nn.Module]
    device: torch.device
    folder: Path
    progress: ProgressCallback
    stem: ClassVar[str] = "tuning"

    def file(self, what: str) -> Path:
        """The file of a finished stage."""
        return self.folder / f"{self.stem}-{what}.safetensors"

    def show(self, what: str, done: int, of: int) -> None:
        """Tells how far a stage is."""
        self.progress(Step(self.stem, what, done, of, unit="steps"))


def tuned(job: TuningJob, coded: TunableModel[T], codec: Codec[T]) -> TunableModel[T]:
    """The model tuned as the settings say; `coded` may be changed as well."""
    if job.settings.finetune == "none":
        return coded
    coded = tuned_blocks(job, coded, codec)
    return coded if job.settings.finetune == "block" else tuned_model(job, coded, codec)


def tuned_blocks(job: TuningJob, coded: TunableModel[T], codec: Codec[T]) -> TunableModel[T]:
    """The model after block tuning; a file per block."""
    network = open_streamed(job.checkpoint, str(job.device))
    tuner = BlockTuner(network, job.tokens, job.folder, job.settings)
    n = network.n_blocks
    done = 0
    while done < n and is_whole(job.file(f"block-{done:04}")):
        done += 1
    streams = ("original", "coded")
    if done < n and not all(tuner.hidden(s, done).is_complete() for s in streams):
        done = 0
    for i in range(done):
        coded.update(codec.load(job.file(f"block-{i:04}"), job.device))
    if done == 0:
        for number in range(n):  # none of those to come must count as finished
            job.file(f"block-{number:04}").unlink(missing_ok=True)
        tuner.start()
    for i in range(done, n):
        generator = seeded(job.settings.seed, f"block {i}")

        def show(step: int, steps: int, loss: float, i: int = i) -> None:
            job.show(f"block {i}: loss {loss:.4f}", i * steps + step, n * steps)

        tuner.tune(i, coded, generator, codec.block_mover, show)
        names = set(network.block_tensors(i).values())
        part = coded.part(name for name in coded.tensors if name in names)
        part.vectors = {name: v for name, v in coded.vectors.items() if name in names}
        codec.save(part, job.file(f"block-{i:04}"))
        for stream in streams:
            tuner.hidden(stream, i).path.unlink(missing_ok=True)
    return coded


def tuned_model(job: TuningJob, coded: TunableModel[T], codec: Codec[T]) -> TunableModel[T]:
    """The model after end-to-end tuning; one file."""
    path = job.file("model")
    if not is_whole(path):
        original, student = job.original(), job.student()
        names = parameter_names(student, [entry.name for entry in job.checkpoint.tensors])
        with torch.no_grad():
            for name, parameter in student.named_parameters():
                stored = names.get(name, "")
                if stored in coded.vectors:
                    parameter.copy_(coded.vectors[stored])

        def show(step: int, steps: int, loss: float) -> None:
            job.show(f"whole model: KL {loss:.4f}", step, steps)

        generator = seeded(job.settings.seed, "model")
        teaching = Teaching(original, student, names, job.tokens)
        tune_model(teaching, coded, job.settings, generator, codec.model_mover, show)
        codec.save(coded, path)
    return codec.load(path, job.device)


def parameter_names(network: nn.Module, tensors: Sequence[str]) -> dict[str, str]:
    """The tensor of every parameter of a network, by the parameter's name."""
    find = network_names(network)
    return {find(name): name for name in tensors}
