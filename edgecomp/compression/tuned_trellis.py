"""The trellis codec's part of a compression with tuning: the linears of all blocks, together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edgecomp.checkpoint import TensorEntry
from edgecomp.compression.linears import (
    LinearsJob,
    original_network,
    student_network,
    tuning_errors,
)
from edgecomp.encode import ArraySource, TrellisSettings
from edgecomp.encode.raw import encode_raw
from edgecomp.encode.trellis.tensor import largest_distance
from runtime_ops.formats import ColumnsFormat, EncodedTensor, TrellisFormat

__all__ = ["encode_tuned"]

EncodeFirst = Callable[[TensorEntry], EncodedTensor]


def encode_tuned(job: LinearsJob, encode_first: EncodeFirst) -> int:
    """Saves every linear and every tuned vector in the work folder; returns the linears' weights.

    All other tensors are there already. `encode_first` makes a linear's first codes, which are kept
    behind all tensors until the file is complete. CompressError when tuning diverges, the device
    has not enough memory or a Hessian is not positive definite.
    """
    import torch

    from edgecomp.calibration.settings import choose_device
    from edgecomp.trellis.run import TrellisJob, tune_trellis

    assert isinstance(job.settings, TrellisSettings), "the settings of this codec"
    first = first_codes(job, encode_first)
    coded = {name: tensor for name, tensor in first.items() if is_trellis(tensor)}
    tuning = TrellisJob(
        checkpoint=job.checkpoint,
        settings=job.settings,
        tokens=torch.from_numpy(job.tokens),
        original=lambda: original_network(job),
        student=lambda: student_network(job),
        device=torch.device(choose_device(job.calibration.device)),
        folder=job.folder.path,
        progress=job.progress,
        statistics=job.statistics,
        first=coded,
    )
    with tuning_errors(job.settings):
        tuned = tune_trellis(tuning)
    for name, tensor in {**first, **tuned.tensors}.items():
        job.folder.save(job.index(name), name, with_bound(job, name, tensor))
    for name, vector in tuned.vectors.items():
        job.folder.save(job.index(name), name, encode_raw(ArraySource(vector)))
    return sum(tensor.n_weights for tensor in first.values())


def first_codes(job: LinearsJob, encode_first: EncodeFirst) -> dict[str, EncodedTensor]:
    """The codes before tuning, by tensor; those of an earlier run are taken up."""
    found = {}
    behind = len(job.checkpoint.tensors)
    for name in job.names:
        i = job.index(name)
        if not job.folder.finished(behind + i, name):
            job.folder.save(behind + i, name, encode_first(job.checkpoint.tensors[i]))
        found[name] = job.folder.load(behind + i, name)
    return found


def is_trellis(tensor: EncodedTensor) -> bool:
    """Whether a tensor has trellis codes, with critical columns or without."""
    fmt = tensor.format
    return isinstance(fmt.rest if isinstance(fmt, ColumnsFormat) else fmt, TrellisFormat)


def with_bound(job: LinearsJob, name: str, tensor: EncodedTensor) -> EncodedTensor:
    """The tensor with its error bound against the checkpoint, as it is for tensors left raw."""
    if not is_trellis(tensor):
        return tensor
    return replace(tensor, error_bound=largest_distance(tensor, job.checkpoint.source(name)))
