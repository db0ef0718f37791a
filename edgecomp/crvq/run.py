"""The stages of CRVQ for a model, each kept in a folder, so that a run that was killed goes on.

fisher -> columns and sharing -> first codes -> block by block -> end to end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from edgecomp.calibration import Statistics, open_streamed
from edgecomp.checkpoint import Checkpoint
from edgecomp.crvq.coded_model import CodedModel, load_coded, save_coded
from edgecomp.crvq.columns import ColumnPlan, plan_columns
from edgecomp.crvq.linears import Linears, block_of
from edgecomp.crvq.sharing import choose_sharing
from edgecomp.crvq.stage_file import write_stage
from edgecomp.crvq.start import encode_group, groups_of, seeded
from edgecomp.crvq.tune_blocks import BlockTuner
from edgecomp.crvq.tune_model import Teaching, output_fisher, tune_model
from edgecomp.encode.settings import CrvqSettings
from edgecomp.evaluation.tensor_names import network_names
from edgecomp.progress import ProgressCallback, Step

__all__ = ["CrvqJob", "encode_model"]


@dataclass(frozen=True)
class CrvqJob:
    """What a run works on and whom it tells.

    `linears` are the tensors to code, `tokens` int64 (windows, length) the calibration text that
    tuning reads. `original` makes the network as it came, `student` the one with the weights
    outside of the linears as they are stored; only end-to-end tuning calls them, and needs both in
    memory. Files go to `folder`.
    """

    checkpoint: Checkpoint
    statistics: Statistics
    settings: CrvqSettings
    linears: tuple[str, ...]
    tokens: Tensor
    original: Callable[[], nn.Module]
    student: Callable[[], nn.Module]
    device: torch.device
    folder: Path
    progress: ProgressCallback
    note: Callable[[str], None]

    def file(self, what: str) -> Path:
        """The file of a finished stage."""
        return self.folder / f"crvq-{what}.safetensors"

    def show(self, what: str, done: int, of: int) -> None:
        """Tells how far a stage is."""
        self.progress(Step("crvq", what, done, of, unit="steps"))


def encode_model(job: CrvqJob) -> CodedModel:
    """The coded linears of all blocks, tuned as the settings say."""
    coded = first_codes(job)
    if job.settings.finetune == "none":
        return coded
    coded = tuned_blocks(job, coded)
    return coded if job.settings.finetune == "block" else tuned_model(job, coded)


def linears_of(job: CrvqJob) -> Linears:
    """The linears of all blocks, with measured row weights where the model is in memory anyway."""
    sites = [site for site in job.statistics.sites if set(site.tensors) <= set(job.linears)]
    weights = row_weights(job) if job.settings.finetune == "end-to-end" else {}
    return Linears(job.checkpoint, job.statistics, job.settings, tuple(sites), weights, job.device)


def row_weights(job: CrvqJob) -> dict[str, Tensor]:
    """How much an error of every output counts, by tensor; kept in a file."""
    path = job.file("fisher")
    if not path.is_file():
        job.show("output sensitivity", 0, 1)
        original = job.original()
        generator = seeded(job.settings.seed, "fisher")
        names = parameter_names(original, job.linears)
        found = output_fisher(original, names, job.tokens, generator)
        write_stage(found, {}, path)
    return load_file(path)


def planned(job: CrvqJob, linears: Linears) -> tuple[dict[str, ColumnPlan], str]:
    """Order and number of critical columns of every linear, and how codebooks are shared."""
    path = job.file("plan")
    if not path.is_file():
        generator = seeded(job.settings.seed, "columns")

        def show(what: str) -> Callable[[str, int], None]:
            return lambda name, i: job.show(f"{what}, {name}", i, len(linears.sites))

        plans = plan_columns(linears, generator, show("columns"))
        share: str = job.settings.share
        if share == "auto":
            share = choose_sharing(linears, plans, generator, show("codebooks"))
        numbers = {name: plan.critical for name, plan in plans.items()}
        orders = {name: plan.order for name, plan in plans.items()}
        write_stage(orders, {"share": share, "critical": json.dumps(numbers)}, path)
    with safe_open(path, "pt") as file:
        meta = file.metadata()
        critical = json.loads(meta["critical"])
        plans = {
            name: ColumnPlan(name, file.get_tensor(name), tuple(critical[name]))
            for name in linears.names
        }
    return plans, str(meta["share"])


def first_codes(job: CrvqJob) -> CodedModel:
    """All linears coded layer by layer; a file per block, or per group of shared codebooks."""
    linears = linears_of(job)
    plans, share = planned(job, linears)
    groups = groups_of(linears, share)
    units = sorted({block_of(key) for key in groups}) if share == "tensor" else list(groups)
    if share != "tensor":
        job.note(f"codebooks are shared by {'all linears' if share == 'model' else 'kind'}")
    coded = CodedModel()
    for number, unit in enumerate(units):
        path = job.file(f"start-{number:04}")
        if not path.is_file():
            part = CodedModel()
            for key, names in groups.items():
                if unit == (block_of(key) if share == "tensor" else key):
                    part.update(
                        encode_group(
                            linears, plans, (key, names), reporter(job, number, len(units))
                        )
                    )
            save_coded(part, path)
        coded.update(load_coded(path, job.device))
    return coded


def reporter(job: CrvqJob, number: int, of: int) -> Callable[[str, str, float], None]:
    """Tells what was done with a layer, and its loss."""

    def report(name: str, what: str, loss: float) -> None:
        job.show(f"{name}: {what}, relative loss {loss:.4f}", number, of)

    return report


def tuned_blocks(job: CrvqJob, coded: CodedModel) -> CodedModel:
    """The model after block tuning; a file per block."""
    network = open_streamed(job.checkpoint, str(job.device))
    tuner = BlockTuner(network, job.tokens, job.folder, job.settings)
    n = network.n_blocks
    shared = len(coded.codebooks) < len(coded.tensors)
    done = 0
    while done < n and job.file(f"block-{done:04}").is_file():
        done += 1
    streams = ("original", "coded")
    if done < n and not all(tuner.hidden(s, done).is_complete() for s in streams):
        done = 0
    for i in range(done):
        coded.update(load_coded(job.file(f"block-{i:04}"), job.device))
    if done == 0:
        for number in range(n):  # none of those to come must count as finished
            job.file(f"block-{number:04}").unlink(missing_ok=True)
        tuner.start()
    for i in range(done, n):
        generator = seeded(job.settings.seed, f"block {i}")

        def show(step: int, steps: int, loss: float, i: int = i) -> None:
            job.show(f"block {i}: loss {loss:.4f}", i * steps + step, n * steps)

        tuner.tune(i, coded, shared, generator, show)
        names = set(network.block_tensors(i).values())
        part = coded.part(name for name in coded.tensors if name in names)
        part.vectors = {name: v for name, v in coded.vectors.items() if name in names}
        save_coded(part, job.file(f"block-{i:04}"))
        for stream in streams:
            tuner.hidden(stream, i).path.unlink(missing_ok=True)
    return coded


def tuned_model(job: CrvqJob, coded: CodedModel) -> CodedModel:
    """The model after end-to-end tuning; one file."""
    path = job.file("model")
    if not path.is_file():
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
        tune_model(teaching, coded, job.settings, generator, show)
        save_coded(coded, path)
    return load_coded(path, job.device)


def parameter_names(network: nn.Module, tensors: Sequence[str]) -> dict[str, str]:
    """The tensor of every parameter of a network, by the parameter's name."""
    find = network_names(network)
    return {find(name): name for name in tensors}
