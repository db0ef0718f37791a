"""Statistics as the codecs use them: from a folder of `edgecomp calibrate`, or an imatrix."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp.calibration.errors import CalibrationError
from edgecomp.calibration.fingerprint import model_fingerprint
from edgecomp.calibration.folder import INDEX, JOB, OWN_FILES
from edgecomp.calibration.imatrix import checkpoint_names
from edgecomp.calibration.imatrix_file import read_imatrix
from edgecomp.calibration.sites import Site
from edgecomp.checkpoint import Checkpoint, CheckpointError, TensorEntry
from edgecomp.checkpoint.safetensors_file import TensorSource, read_header

__all__ = ["VERSION", "Statistics", "index_text", "open_statistics"]

VERSION = 1


@dataclass(frozen=True)
class Statistics:
    """Means over calibration tokens, by the name of the weight that reads the input.

    `hessian` is the mean of x x^T, `diagonal` that of x^2. Matrices are read from their file when
    they are asked for. Every method raises CalibrationError for a tensor that has none.
    """

    path: Path
    tokens: int  # that the means are over; the most of any tensor in an imatrix
    windows: int
    sites: tuple[Site, ...]
    matrices: Mapping[str, TensorEntry] = field(repr=False)  # by tensor
    diagonals: Mapping[str, NDArray[np.float32]] = field(repr=False)  # by tensor, of an imatrix

    @property
    def tensors(self) -> tuple[str, ...]:
        """The weights that there are statistics for, sorted."""
        return tuple(sorted(name for site in self.sites for name in site.tensors))

    def site(self, tensor: str) -> Site:
        """The input that a weight reads, with all weights that read the same."""
        for site in self.sites:
            if tensor in site.tensors:
                return site
        raise CalibrationError(
            f"{self.path} has no statistics for tensor {tensor}",
            "calibrate the model that is compressed; only linears have statistics",
        )

    def hessian(self, tensor: str) -> NDArray[np.float32]:
        """The mean of x x^T over tokens, float32 (d_in, d_in), symmetric."""
        site = self.site(tensor)
        if tensor not in self.matrices:
            raise CalibrationError(
                f"{self.path} is an imatrix, which holds only the diagonal of the statistics",
                "edgecomp calibrate gathers whole matrices",
            )
        try:
            flat = TensorSource(self.matrices[tensor]).read(0, site.columns**2)
        except CheckpointError as error:
            raise damaged(self.path, str(error)) from error
        if not np.isfinite(flat).all():
            raise damaged(self.path, f"the matrix of tensor {tensor} is not finite")
        matrix = flat.reshape(site.columns, site.columns)
        if matrix.diagonal().min() < 0:
            raise damaged(self.path, f"the matrix of tensor {tensor} has no valid diagonal")
        if not is_covariance(matrix):
            raise damaged(self.path, f"the matrix of tensor {tensor} is not a mean of x x^T")
        return matrix

    def diagonal(self, tensor: str) -> NDArray[np.float32]:
        """The mean of x^2 over tokens, float32 (d_in,)."""
        site = self.site(tensor)
        if tensor in self.diagonals:
            return self.diagonals[tensor].copy()
        entry = self.matrices[tensor]
        with entry.shard.open("rb") as file:
            read = [
                os.pread(file.fileno(), 4, entry.offset + 4 * i * (site.columns + 1))
                for i in range(site.columns)
            ]
        if any(len(number) < 4 for number in read):
            raise damaged(self.path, f"{entry.shard.name} ended early")
        found = np.frombuffer(b"".join(read), "<f4").astype(np.float32)
        if not np.isfinite(found).all() or found.min() < 0:
            raise damaged(self.path, f"the matrix of tensor {tensor} has no valid diagonal")
        return found


def is_covariance(matrix: NDArray[np.float32]) -> bool:
    """Whether a matrix is symmetric, and no entry is above the root of its diagonal's product."""
    root = np.sqrt(matrix.diagonal().astype(np.float64)).astype(np.float32)
    slack = np.float32(1e-3) * root.max() ** 2
    for first in range(0, len(matrix), 256):  # not the whole matrix again
        part = matrix[first : first + 256]
        if (np.abs(part - matrix[:, first : first + 256].T) > slack).any():
            return False
        if (np.abs(part) > root[first : first + 256, None] * root * 1.01 + slack).any():
            return False
    return True


def open_statistics(path: Path, checkpoint: Checkpoint | None = None) -> Statistics:
    """The statistics in a folder, or in an imatrix GGUF file of llama.cpp.

    With a `checkpoint`, statistics of another model are refused, and the tensors of an imatrix go
    by the checkpoint's names; without, by llama.cpp's. Raises CalibrationError when there are no
    finished statistics or when they are damaged, OSError when a file cannot be read.
    """
    if not path.is_dir():
        return open_imatrix(path, checkpoint)
    if not (path / INDEX).is_file():
        raise CalibrationError(
            f"{path}: the statistics are not finished"
            if (path / JOB).is_file()
            else f"{path} is not a folder of statistics, it has no {INDEX}",
            "run edgecomp calibrate, again with the same options if it was ended",
        )
    try:
        index = json.loads((path / INDEX).read_bytes())
        statistics = from_index(path, index)
        model = str(index["job"]["model"])
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        reason = str(error) if isinstance(error, CheckpointError) else f"{INDEX} is not valid"
        raise damaged(path, reason) from error
    if checkpoint is not None and model != model_fingerprint(checkpoint):
        raise CalibrationError(
            f"{path} holds statistics of another model than {checkpoint.name}",
            "calibrate this model",
        )
    return statistics


def index_text(job: object, tokens: int, sites: Mapping[str, tuple[Site, ...]]) -> str:
    """The index of a finished folder: what it was made from, and the sites in each file."""
    listed = [
        {
            "file": file,
            "columns": site.columns,
            "tensors": list(site.tensors),
            "transposed": site.transposed,
        }
        for file, each in sites.items()
        for site in each
    ]
    return json.dumps({"version": VERSION, "job": job, "tokens": tokens, "sites": listed}, indent=1)


def from_index(path: Path, index: object) -> Statistics:
    """The statistics that an index lists; one of several built-in errors when it is not valid."""
    match index:
        case {"version": 1, "tokens": int(tokens), "job": {"windows": int(windows)},
              "sites": list(listed)} if tokens > 0 and windows > 0:  # fmt: skip
            pass
        case _:
            raise ValueError("not an index of this version")
    sites = []
    matrices: dict[str, TensorEntry] = {}
    files: dict[str, dict[str, TensorEntry]] = {}
    for item in listed:
        site = Site(
            int(item["columns"]), tuple(map(str, item["tensors"])), item["transposed"] is True
        )
        file = str(item["file"])
        if not OWN_FILES.fullmatch(file):
            raise ValueError("a file outside of the folder")
        if file not in files:
            files[file] = read_header(path / file)
        entry = files[file][site.tensors[0]]
        if (entry.dtype, entry.shape) != ("F32", (site.columns, site.columns)):
            raise ValueError("a matrix of another shape")
        if matrices.keys() & set(site.tensors):
            raise ValueError("a tensor comes twice")
        matrices |= dict.fromkeys(site.tensors, entry)
        sites.append(site)
    return Statistics(path, tokens, windows, tuple(sites), matrices, {})


def open_imatrix(path: Path, checkpoint: Checkpoint | None) -> Statistics:
    """The statistics in an imatrix file."""
    found = read_imatrix(path)
    names = {} if checkpoint is None else checkpoint_names(checkpoint)
    diagonals = {names.get(name, name): mean for name, mean in found.means.items()}
    if checkpoint is not None:
        check_columns(path, diagonals, checkpoint)
    sites = tuple(Site(mean.size, (name,)) for name, mean in diagonals.items())
    return Statistics(path, found.tokens, found.chunks, sites, {}, diagonals)


def check_columns(
    path: Path, diagonals: Mapping[str, NDArray[np.float32]], checkpoint: Checkpoint
) -> None:
    """CalibrationError when an imatrix is of a model with other sizes, or of no tensor of this."""
    shapes = {entry.name: entry.shape for entry in checkpoint.tensors}
    known = [name for name in diagonals if name in shapes]
    for name in known:
        if diagonals[name].size not in shapes[name]:
            raise CalibrationError(
                f"{path}: {diagonals[name].size} columns for tensor {name}, which is "
                f"{shapes[name]}",
                "give the imatrix of this model",
            )
    if not known:
        raise CalibrationError(
            f"{path} has no tensor of {checkpoint.name}", "give the imatrix of this model"
        )


def damaged(path: Path, what: str) -> CalibrationError:
    """The error for statistics that are not as they were written."""
    return CalibrationError(f"{path} is damaged: {what}", "remove it and calibrate again")
