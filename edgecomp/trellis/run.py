"""Tunes the trellis codes of a model, stage by stage; see `tune_trellis`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgecomp.calibration import Statistics
from edgecomp.encode.settings import TrellisSettings
from edgecomp.encode.trellis.feedback import damped
from edgecomp.trellis.coded_model import (
    TrellisModel,
    encoded_tensors,
    load_model,
    model_of,
    save_model,
)
from edgecomp.trellis.coded_tensor import TrellisTensor
from edgecomp.trellis.in_turn import Sources, TurnCoder
from edgecomp.tuning.coded_linear import CodedLinear
from edgecomp.tuning.stages import TuningJob, tuned, tuned_model
from edgecomp.tuning.tunable import Codec
from runtime_ops.formats import EncodedTensor

__all__ = ["TrellisJob", "TunedTrellis", "tune_trellis"]


@dataclass(frozen=True)
class TrellisJob(TuningJob):
    """What tuning works on and whom it tells.

    `first` are the codes of all linears, by name; a TrellisFormat each, or two in a ColumnsFormat.
    What is in other formats stays as `student` has it. Files in `folder` fit the same first codes
    only.
    """

    settings: TrellisSettings
    statistics: Statistics
    first: Mapping[str, EncodedTensor]
    stem: ClassVar[str] = "trellis"


@dataclass(frozen=True)
class TunedTrellis:
    """The coded linears as a container has them, and norms and biases, float32, by tensor name.

    All of them are in memory. The tensors' error bounds are 0: they are not measured.
    """

    tensors: Mapping[str, EncodedTensor]
    vectors: Mapping[str, NDArray[np.float32]]


def tune_trellis(job: TrellisJob) -> TunedTrellis:
    """The linears tuned as the settings say; with "none" tables are rounded, and nothing changes.

    With codes that move the whole model is tuned from its float weights, so blocks are not tuned
    before. TuningError when the loss is not finite or scales leave the range of a container,
    IndefiniteError for a Hessian without a Cholesky factor.
    """
    start = model_of(job.first, job.device)
    codec = codec_of(job, start)
    if job.settings.finetune == "end-to-end" and job.settings.move_codes:
        model = tuned_model(job, start, codec)
    else:
        model = tuned(job, start, codec)
    vectors = {name: vector.cpu().float().numpy() for name, vector in model.vectors.items()}
    return TunedTrellis(dict(encoded_tensors(model)), vectors)


def codec_of(job: TrellisJob, start: TrellisModel) -> Codec[TrellisTensor]:
    """How the model is kept, and how its codes are made anew."""
    sources = sources_of(job)

    def mover(linears: Sequence[CodedLinear[TrellisTensor]], n_steps: int) -> TurnCoder:
        return TurnCoder(sources, linears, n_steps)

    return Codec(save_model, partial(load_model, start), mover, mover)


def sources_of(job: TrellisJob) -> Sources:
    """The checkpoint's weights and the calibration's Hessians."""
    damping = job.settings.damping

    def weight(name: str) -> NDArray[np.float32]:
        source = job.checkpoint.source(name)
        found: NDArray[np.float32] = source.read(0, math.prod(source.shape))
        return found.reshape(source.shape)

    def hessian(name: str) -> NDArray[np.float64] | None:
        return damped(job.statistics.hessian(name), damping) if job.settings.feedback else None

    sites = tuple(tuple(n for n in site.tensors if n in job.first) for site in job.statistics.sites)
    return Sources(weight, hessian, sites, job.settings.row_power)
