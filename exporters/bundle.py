"""A compressed model in memory or on disk, as the writers take it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runtime_ops.formats import EncodedTensor

MetadataValue = str | int | float | bool | list[str] | list[int] | list[float]


@dataclass(frozen=True)
class TensorSource:
    """One tensor of a bundle: its name, and a way to get it when it is its turn to be written."""

    name: str
    load: Callable[[], EncodedTensor]


@dataclass(frozen=True)
class ModelBundle:
    """What both writers consume: encoded tensors and everything needed to use them.

    Tensors are loaded one at a time, so a bundle may be larger than memory. `model` holds the
    architecture's hyper-parameters (written under `edgecomp.model.`), `tokenizer` the complete
    `tokenizer.ggml.` keys, `settings` the JSON text of what made the file.
    """

    name: str
    tensors: tuple[TensorSource, ...]
    settings: str
    model: Mapping[str, MetadataValue] = field(default_factory=dict)
    tokenizer: Mapping[str, MetadataValue] = field(default_factory=dict)
