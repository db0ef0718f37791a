"""The stages of CRVQ for a model, each kept in a folder, so that a run that was killed goes on.

fisher -> columns and sharing -> first codes -> block by block -> end to end.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from edgecomp.calibration import Statistics
from edgecomp.crvq.coded_model import CodedModel, load_coded, save_coded
from edgecomp.crvq.columns import ColumnPlan, plan_columns
from edgecomp.crvq.linears import Linears
from edgecomp.crvq.moves import block_mover, model_mover
from edgecomp.crvq.sharing import choose_sharing
from edgecomp.crvq.start import encode_group, groups_of
from edgecomp.encode.settings import CrvqSettings
from edgecomp.tuning.names import block_of
from edgecomp.tuning.seeds import seeded
from edgecomp.tuning.stage_file import is_whole, read_stage, write_stage
from edgecomp.tuning.stages import TuningJob, parameter_names, tuned
from edgecomp.tuning.tunable import Codec
from edgecomp.tuning.tune_model import output_fisher

__all__ = ["CrvqJob", "encode_model"]


CODEC = Codec(save_coded, load_coded, block_mover, model_mover)


@dataclass(frozen=True)
class CrvqJob(TuningJob):
    """What a run works on and whom it tells; `linears` are the tensors to code."""

    settings: CrvqSettings
    statistics: Statistics
    linears: tuple[str, ...]
    note: Callable[[str], None]
    stem: ClassVar[str] = "crvq"


def encode_model(job: CrvqJob) -> CodedModel:
    """The coded linears of all blocks, tuned as the settings say."""
    return tuned(job, first_codes(job), CODEC)


def linears_of(job: CrvqJob) -> Linears:
    """The linears of all blocks, with measured row weights where the model is in memory anyway."""
    sites = [site for site in job.statistics.sites if set(site.tensors) <= set(job.linears)]
    weights = row_weights(job) if job.settings.finetune == "end-to-end" else {}
    return Linears(job.checkpoint, job.statistics, job.settings, tuple(sites), weights, job.device)


def row_weights(job: CrvqJob) -> dict[str, Tensor]:
    """How much an error of every output counts, by tensor; kept in a file."""
    path = job.file("fisher")
    if not is_whole(path):
        job.show("output sensitivity", 0, 1)
        original = job.original()
        generator = seeded(job.settings.seed, "fisher")
        names = parameter_names(original, job.linears)
        found = output_fisher(original, names, job.tokens, generator)
        write_stage(found, {}, path)
    return dict(read_stage(path).tensors)


def planned(job: CrvqJob, linears: Linears) -> tuple[dict[str, ColumnPlan], str]:
    """Order and number of critical columns of every linear, and how codebooks are shared."""
    path = job.file("plan")
    if not is_whole(path):
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
    stage = read_stage(path)
    critical = json.loads(stage.meta["critical"])
    plans = {
        name: ColumnPlan(name, stage.tensors[name], tuple(critical[name])) for name in linears.names
    }
    return plans, stage.meta["share"]


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
        if not is_whole(path):
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
