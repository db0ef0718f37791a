"""Which tensors of a model get critical columns in a codec of one rate, and what ranks them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgecomp.calibration import Statistics
from edgecomp.checkpoint import Checkpoint, TensorEntry
from edgecomp.checkpoint.folder import is_embedding
from edgecomp.compression.checks import CompressError
from edgecomp.compression.linears import Calibration, usable_statistics
from edgecomp.compression.workfolder import WorkFolder
from edgecomp.encode import LatticeSettings, Settings
from edgecomp.progress import ProgressCallback

__all__ = ["input_statistics", "tensor_settings"]


def input_statistics(
    checkpoint: Checkpoint,
    settings: Settings,
    calibration: Calibration | None,
    folder: WorkFolder,
    tell: tuple[ProgressCallback, Callable[[str], None]],
) -> Statistics | None:
    """The statistics that columns are ranked by, given or gathered now; None where none are needed.

    CompressError where they are needed and there is no calibration.
    """
    if not isinstance(settings, LatticeSettings) or settings.critical == 0:
        return None
    if settings.importance != "activation":
        return None
    if calibration is None:
        raise CompressError(
            'critical columns of importance "activation" need a calibration',
            "give --calibration a UTF-8 text file, --statistics, or --importance weight",
        )
    statistics = usable_statistics(checkpoint, calibration, folder, tell)
    known = set(statistics.tensors)
    left_out = [
        entry.name
        for entry in checkpoint.tensors
        if entry.name in known and not is_ranked(entry, statistics)
    ]
    if left_out:
        tell[1](
            f"{len(left_out)} tensors such as {left_out[0]} are stored transposed: "
            "they get no critical columns"
        )
    return statistics


def tensor_settings(
    entry: TensorEntry, settings: Settings, statistics: Statistics | None
) -> tuple[Settings, NDArray[np.float32] | None]:
    """The settings of one tensor, and the mean square of its input where these go by it.

    Tensors whose columns are no activations get no critical ones: without statistics, embeddings
    are told by their name.
    """
    if not isinstance(settings, LatticeSettings) or settings.critical == 0:
        return settings, None
    if statistics is None:
        none = len(entry.shape) != 2 or is_embedding(entry.name)
        return (replace(settings, critical=0.0) if none else settings), None
    if is_ranked(entry, statistics):
        return settings, statistics.diagonal(entry.name)
    return replace(settings, critical=0.0), None


def is_ranked(entry: TensorEntry, statistics: Statistics) -> bool:
    """Whether the tensor is a matrix (d_out, d_in) whose input the statistics are of."""
    if len(entry.shape) != 2 or entry.name not in statistics.tensors:
        return False
    site = statistics.site(entry.name)
    return not site.transposed and site.columns == entry.shape[1]
