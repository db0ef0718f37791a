"""A model's tensors as the cost model counts them: of a container, or planned by settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgecomp.checkpoint import Checkpoint, hyperparameters
from edgecomp.encode import Settings
from edgecomp.inspection import read_container
from edgecomp.latency.planned import planned_format
from exporters.bundle import MetadataValue
from exporters.gguf import table_bytes, tensor_bytes
from runtime_ops.formats import ColumnsFormat, Format
from runtime_ops.formats.columns import PlainFormat

__all__ = ["StoredModel", "StoredTensor", "container_model", "planned_model"]

KEYS_BYTES = 2_000_000  # of a container's keys: names, digests, and mostly the tokenizer


@dataclass(frozen=True)
class StoredTensor:
    """A tensor's format and shape."""

    name: str
    format: Format
    shape: tuple[int, ...]

    @property
    def n_weights(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Bytes of its parts, padding and tables left out."""
        return sum(spec.size * spec.dtype.itemsize for spec in self.format.part_specs(self.shape))

    def matrices(self) -> tuple[tuple[PlainFormat, tuple[int, ...]], ...]:
        """The formats that it is made of, each with its shape; critical columns first."""
        if not isinstance(self.format, ColumnsFormat):
            return ((self.format, self.shape),)
        critical, rest = self.format.part_shapes(self.shape)
        own = () if self.format.critical is None else ((self.format.critical, critical),)
        return (*own, (self.format.rest, rest))


@dataclass(frozen=True)
class StoredModel:
    """Tensors by name, the keys below edgecomp.model., and the size of the file."""

    name: str
    tensors: Mapping[str, StoredTensor]
    keys: Mapping[str, MetadataValue]
    file_bytes: int


def container_model(path: Path) -> StoredModel:
    """The model in a container. OSError, ContainerError."""
    with read_container(path) as container:
        entries = [StoredTensor(e.name, e.format, e.shape) for e in container.tensors]
        tensors = {entry.name: entry for entry in entries}
        return StoredModel(container.name, tensors, container.model, container.file_bytes)


def planned_model(
    name: str,
    shapes: Iterable[tuple[str, tuple[int, ...]]],
    config: Mapping[str, object],
    settings: Settings,
) -> StoredModel:
    """The model that `edgecomp compress` would make; CheckpointError for an absurd config."""
    entries = [
        StoredTensor(tensor, planned_format(tensor, shape, settings), shape)
        for tensor, shape in shapes
    ]
    n_bytes = KEYS_BYTES + table_bytes(entry.format for entry in entries)
    n_bytes += sum(tensor_bytes(entry.format, entry.shape) for entry in entries)
    tensors = {entry.name: entry for entry in entries}
    return StoredModel(name, tensors, hyperparameters(config), n_bytes)


def planned_checkpoint(checkpoint: Checkpoint, settings: Settings) -> StoredModel:
    """The same of a checkpoint."""
    shapes = [(entry.name, entry.shape) for entry in checkpoint.tensors]
    return planned_model(checkpoint.name, shapes, checkpoint.config, settings)
