"""One matrix through the whole encoder, as if it were a model of one linear."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from edgecomp.calibration import Site, Statistics
from edgecomp.checkpoint import Checkpoint
from edgecomp.checkpoint.safetensors_file import read_header
from edgecomp.crvq.columns import plan_columns
from edgecomp.crvq.linears import Linears
from edgecomp.crvq.start import encode_group
from edgecomp.crvq.tensors import coded_tensors
from edgecomp.encode.settings import CrvqSettings
from edgecomp.tuning.seeds import seeded
from runtime_ops.formats import EncodedTensor

__all__ = ["encode_matrix"]

NAME, INPUT = "one.weight", "input"


def encode_matrix(
    weights: NDArray[np.floating],
    settings: CrvqSettings,
    hessian: NDArray[np.floating] | None = None,
) -> EncodedTensor:
    """A matrix (rows, columns) with codebooks of its own; `hessian` None means the identity.

    It is planned, coded and stored by what does so for models; nothing is tuned.
    """
    columns = weights.shape[1]
    metric = np.eye(columns) if hessian is None else hessian
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.safetensors"
        arrays = {NAME: weights, INPUT: metric}
        save_file({key: np.ascontiguousarray(a, np.float32) for key, a in arrays.items()}, path)
        entries = {entry.name: entry for entry in read_header(path).values()}
        site = Site(columns, (NAME,))
        checkpoint = Checkpoint("one", Path(name), {}, None, (entries[NAME],))
        statistics = Statistics(path, 1, 1, (site,), {NAME: entries[INPUT]}, {})
        linears = Linears(checkpoint, statistics, settings, (site,), {}, torch.device("cpu"))
        generator = seeded(settings.seed, "columns")
        plans = plan_columns(linears, generator, lambda name, number: None)
        group = (NAME, (NAME,))
        coded = encode_group(linears, plans, group, lambda name, what, loss: None)
        return dict(coded_tensors(coded, checkpoint, settings))[NAME]
