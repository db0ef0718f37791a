"""What each tensor of a model is encoded with: its settings, and what is known of its input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgecomp.calibration import Statistics
from edgecomp.checkpoint import Checkpoint, TensorEntry
from edgecomp.checkpoint.folder import is_embedding, is_head
from edgecomp.compression.checks import CompressError
from edgecomp.compression.linears import Calibration, usable_statistics
from edgecomp.compression.workfolder import WorkFolder
from edgecomp.encode import (
    InputStatistics,
    LatticeSettings,
    Settings,
    TrellisSettings,
    UniformSettings,
)
from edgecomp.progress import ProgressCallback

# On bookworm, whose embedding is its head too, at 3 bits: KL divergence 0.0218 at a half, 0.0240 at
# 1, 0.0221 at 0.
EMBEDDING_POWER = 0.5
__all__ = [
    "input_statistics",
    "integers_of",
    "ranks_by_activation",
    "rate_of",
    "tensor_settings",
]


def input_statistics(
    checkpoint: Checkpoint,
    settings: Settings,
    calibration: Calibration | None,
    folder: WorkFolder,
    tell: tuple[ProgressCallback, Callable[[str], None]],
    gathered: Statistics | None = None,
) -> Statistics | None:
    """The statistics that settings look at, given or gathered now; None where none are needed.

    `gathered` are those of this run, where it has them already.
    CompressError where they are needed and there is no calibration. The trellis's feedback does
    without, which the user is told.
    """
    ranks = ranks_by_activation(settings)
    feeds_back = isinstance(settings, TrellisSettings) and settings.feedback
    if not ranks and not feeds_back:
        return None
    if calibration is None:
        if ranks:
            raise CompressError(
                'critical columns of importance "activation" need a calibration',
                "give --calibration a UTF-8 text file, --statistics, or --importance weight",
            )
        tell[1]("no calibration text: codes are chosen without feedback; --calibration helps much")
        return None
    statistics = gathered or usable_statistics(checkpoint, calibration, folder, tell)
    known = set(statistics.tensors)
    left_out = [
        entry.name
        for entry in checkpoint.tensors
        if entry.name in known and not is_ranked(entry, statistics)
    ]
    if left_out:
        what = "feedback and no critical columns" if feeds_back else "critical columns"
        tell[1](
            f"{len(left_out)} tensors such as {left_out[0]} are stored transposed: "
            f"they get no {what}"
        )
    return statistics


def ranks_by_activation(settings: Settings) -> bool:
    """Whether critical columns of a codec of one rate are found by their input's size."""
    if not isinstance(settings, LatticeSettings | TrellisSettings):
        return False
    return settings.critical > 0 and settings.importance == "activation"


def tensor_settings(
    entry: TensorEntry, settings: Settings, statistics: Statistics | None
) -> tuple[Settings, InputStatistics | None]:
    """The settings of one tensor, and the statistics of its input where these are looked at.

    Tensors whose columns are no activations get no critical ones: without statistics, embeddings
    are told by their name.
    """
    if isinstance(settings, TrellisSettings):
        integers = integers_of(entry.name, settings)
        if integers is not None:
            return integers, None
        return trellis_settings(entry, settings, statistics)
    if not isinstance(settings, LatticeSettings) or settings.critical == 0:
        return settings, None
    if statistics is None:
        return (replace(settings, critical=0.0) if no_linear(entry) else settings), None
    if is_ranked(entry, statistics):
        return settings, InputStatistics(statistics.diagonal(entry.name))
    return replace(settings, critical=0.0), None


def trellis_settings(
    entry: TensorEntry, settings: TrellisSettings, statistics: Statistics | None
) -> tuple[TrellisSettings, InputStatistics | None]:
    """The rate of a tensor and what feedback goes by; embeddings and heads have their own rate.

    An imatrix has only the diagonal of a Hessian, which serves as a Hessian as well.
    """
    settings = rate_of(entry.name, settings)
    if statistics is None:
        return (replace(settings, critical=0.0) if no_linear(entry) else settings), None
    if not is_ranked(entry, statistics):
        return replace(settings, critical=0.0), None
    diagonal = statistics.diagonal(entry.name)
    if not settings.feedback:
        return settings, InputStatistics(diagonal)
    whole = entry.name in statistics.matrices
    hessian = statistics.hessian(entry.name) if whole else np.diag(diagonal)
    return settings, InputStatistics(diagonal, hessian)


def rate_of(name: str, settings: TrellisSettings) -> TrellisSettings:
    """The settings with a tensor's own rate: embeddings and heads have theirs."""
    if is_embedding(name):
        return replace(settings.outer, row_power=settings.row_power * EMBEDDING_POWER)
    return settings.outer if is_head(name) else settings


def integers_of(name: str, settings: TrellisSettings) -> UniformSettings | None:
    """The settings of a tensor that is to be group integers beside trellises, else None."""
    return settings.outer_integers if is_embedding(name) or is_head(name) else None


def no_linear(entry: TensorEntry) -> bool:
    """Whether a tensor is, by shape and name, no matrix whose columns are activations."""
    return len(entry.shape) != 2 or is_embedding(entry.name)


def is_ranked(entry: TensorEntry, statistics: Statistics) -> bool:
    """Whether the tensor is a matrix (d_out, d_in) whose input the statistics are of."""
    if len(entry.shape) != 2 or entry.name not in statistics.tensors:
        return False
    site = statistics.site(entry.name)
    return not site.transposed and site.columns == entry.shape[1]
