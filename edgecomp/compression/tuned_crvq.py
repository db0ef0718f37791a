"""The crvq codec's part of a compression: the linears of all blocks, together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgecomp.calibration.settings import choose_device
from edgecomp.compression.linears import (
    LinearsJob,
    original_network,
    student_network,
    tuning_errors,
)
from edgecomp.encode import ArraySource, CrvqSettings
from edgecomp.encode.raw import encode_raw

if TYPE_CHECKING:
    from edgecomp.crvq.coded_model import CodedModel
    from edgecomp.crvq.run import CrvqJob

__all__ = ["crvq_job", "encode_crvq", "save_linears"]


def encode_crvq(job: LinearsJob) -> int:
    """Saves every linear and every tuned vector in the work folder; returns the linears' weights.

    All other tensors are there already, as they are stored. CompressError when tuning diverges,
    the device has not enough memory or a Hessian is not positive definite.
    """
    from edgecomp.crvq.run import encode_model

    with tuning_errors(job.settings):
        return save_linears(job, encode_model(crvq_job(job)))


def crvq_job(job: LinearsJob) -> CrvqJob:
    """The job as the stages of edgecomp.crvq.run take it; their files go to the work folder."""
    import torch

    from edgecomp.crvq.run import CrvqJob

    assert isinstance(job.settings, CrvqSettings), "the settings of this codec"
    return CrvqJob(
        checkpoint=job.checkpoint,
        statistics=job.statistics,
        settings=job.settings,
        linears=job.names,
        tokens=torch.from_numpy(job.tokens),
        original=lambda: original_network(job),
        student=lambda: student_network(job),
        device=torch.device(choose_device(job.calibration.device)),
        folder=job.folder.path,
        progress=job.progress,
        note=job.note,
    )


def save_linears(job: LinearsJob, coded: CodedModel) -> int:
    """Saves coded linears and tuned vectors in the work folder; returns the linears' weights."""
    from edgecomp.crvq.tensors import coded_tensors, folds, tuned_vectors

    assert isinstance(job.settings, CrvqSettings), "the settings of this codec"
    weights = 0
    for name, tensor in coded_tensors(coded, job.checkpoint, job.settings):
        job.folder.save(job.index(name), name, tensor)
        weights += tensor.n_weights
    for name, vector in tuned_vectors(coded).items():
        job.folder.save(job.index(name), name, encode_raw(ArraySource(vector)))
    folded = len(folds(coded, job.checkpoint))
    if folded and job.settings.critical > 0:
        job.note(f"{folded} permutations lie in the rows of the matrices in front")
    return weights
