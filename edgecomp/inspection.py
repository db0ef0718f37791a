"""What a container holds: tensors, codecs, sizes, error bounds and checksums."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from exporters.gguf import Container, ContainerError, open_container
from runtime_ops.formats import RawFormat

__all__ = ["Inspection", "TensorRow", "inspect_container", "read_container"]


@dataclass(frozen=True)
class TensorRow:
    """One tensor of a container."""

    name: str
    shape: tuple[int, ...]
    codec: str
    n_weights: int
    n_bytes: int
    bpw: float  # of everything stored for the tensor
    error_bound: float  # largest Euclidean distance of a group of weights from the original
    sha256: str


@dataclass(frozen=True)
class Inspection:
    """A container's contents.

    `damaged` lists the tensors whose sha256 is wrong; None when that was not checked.
    """

    path: Path
    settings: str
    tensors: tuple[TensorRow, ...]
    file_bytes: int
    damaged: tuple[str, ...] | None

    @property
    def n_weights(self) -> int:
        """Weights of all tensors."""
        return sum(row.n_weights for row in self.tensors)

    @property
    def bpw(self) -> float:
        """Whole-file bits per weight."""
        return 8 * self.file_bytes / max(1, self.n_weights)

    @property
    def body_bpw(self) -> float:
        """Bits per weight of the tensors that a codec encodes, without file overhead."""
        rows = [row for row in self.tensors if row.codec != RawFormat.codec]
        return 8 * sum(row.n_bytes for row in rows) / max(1, sum(row.n_weights for row in rows))


def inspect_container(path: Path, verify: bool = False) -> Inspection:
    """The contents of a container; with `verify`, every checksum is computed again.

    Raises ContainerError for a file that is not a container, OSError when it cannot be read.
    """
    container = read_container(path)
    rows = []
    for entry in container.tensors:
        n_weights = math.prod(entry.shape)
        rows.append(
            TensorRow(
                name=entry.name,
                shape=entry.shape,
                codec=entry.format.codec,
                n_weights=n_weights,
                n_bytes=entry.n_bytes,
                bpw=8 * entry.n_bytes / n_weights,
                error_bound=entry.error_bound,
                sha256=entry.sha256,
            )
        )
    return Inspection(
        path=path,
        settings=container.settings,
        tensors=tuple(rows),
        file_bytes=container.file_bytes,
        damaged=tuple(container.verify()) if verify else None,
    )


def read_container(path: Path) -> Container:
    """The opened container at `path`; ContainerError names the file."""
    try:
        return open_container(path)
    except ContainerError as error:
        raise ContainerError(f"{path}: {error}") from error
