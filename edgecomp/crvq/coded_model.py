"""The coded linears of a model, between the stages of the encoder; can be saved and loaded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["CodedModel", "CodedStage", "CodedTensor", "load_coded", "save_coded"]


@dataclass
class CodedStage:
    """Codes of one codebook for the columns from `first` on, uint8 (rows, groups)."""

    codebook: int  # number in the group's list
    first: int  # column in stored order
    codes: Tensor


@dataclass
class CodedTensor:
    """A linear's codes: `order` says which column lies at each position."""

    name: str
    group: str  # whose codebooks it uses
    order: Tensor  # int64 (columns,)
    n_critical: int  # columns
    scales: Tensor  # float32 (rows,)
    stages: list[CodedStage]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the linear's weight."""
        return len(self.scales), len(self.order)

    def decode(self, codebooks: list[Tensor]) -> Tensor:
        """The weights with the tensor's own order of columns, float (rows, columns)."""
        unit = self.unit(codebooks)
        natural = torch.empty_like(unit)
        natural[:, self.order] = unit
        return self.scales[:, None] * natural

    def unit(self, codebooks: list[Tensor]) -> Tensor:
        """The sum of all stages in stored order without scales, float (rows, columns)."""
        rows, columns = self.shape
        total: Tensor | None = None
        for stage in sorted(self.stages, key=lambda stage: stage.codebook):
            book = codebooks[stage.codebook]
            part = torch.nn.functional.embedding(stage.codes.int(), book).reshape(rows, -1)
            wide = max(columns, stage.first + part.shape[1])
            behind = (total.shape[1] if total is not None else wide) - stage.first - part.shape[1]
            part = torch.nn.functional.pad(part, (stage.first, behind))
            total = part if total is None else total + part
        assert total is not None, "a coded tensor has a stage"
        return total[:, :columns]


@dataclass
class CodedModel:
    """All coded linears by name, the codebooks by group, and the vectors that tuning changed."""

    tensors: dict[str, CodedTensor] = field(default_factory=dict)
    codebooks: dict[str, list[Tensor]] = field(default_factory=dict)
    vectors: dict[str, Tensor] = field(default_factory=dict)

    def decode(self, name: str) -> Tensor:
        """The weights of a linear, float (rows, columns)."""
        tensor = self.tensors[name]
        return tensor.decode(self.codebooks[tensor.group])

    def part(self, names: Iterable[str]) -> CodedModel:
        """The model of some of its linears, with the codebooks that they use; nothing is copied."""
        tensors = {name: self.tensors[name] for name in names}
        groups = {tensor.group for tensor in tensors.values()}
        return CodedModel(tensors, {group: self.codebooks[group] for group in sorted(groups)}, {})

    def update(self, other: CodedModel) -> None:
        """Takes over everything that `other` has."""
        self.tensors |= other.tensors
        self.codebooks |= other.codebooks
        self.vectors |= other.vectors


def save_coded(model: CodedModel, path: Path) -> None:
    """Writes the model to a safetensors file, in one step; the same model gives the same bytes."""
    arrays: dict[str, Tensor] = {}
    meta: dict[str, str] = {}
    for name, tensor in model.tensors.items():
        arrays[f"{name}|order"] = tensor.order
        arrays[f"{name}|scales"] = tensor.scales
        for i, stage in enumerate(tensor.stages):
            arrays[f"{name}|codes|{i}"] = stage.codes
        stages = [f"{stage.codebook},{stage.first}" for stage in tensor.stages]
        meta[name] = "|".join([tensor.group, str(tensor.n_critical), *stages])
    for group, books in model.codebooks.items():
        arrays |= {f"{group}|codebook|{i}": book for i, book in enumerate(books)}
    arrays |= {f"{name}|vector": vector for name, vector in model.vectors.items()}
    held = {name: array.detach().cpu().clone().contiguous() for name, array in arrays.items()}
    temporary = path.with_name(path.name + ".tmp")
    save_file(held, temporary, metadata=meta)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_coded(path: Path, device: torch.device) -> CodedModel:
    """The model in a file of `save_coded`, on the device."""
    model = CodedModel()
    with safe_open(path, "pt", device=str(device)) as file:
        meta: Mapping[str, str] = file.metadata() or {}
        names = sorted(file.keys())
        for name, text in meta.items():
            group, n_critical, *stages = text.split("|")
            model.tensors[name] = CodedTensor(
                name,
                group,
                file.get_tensor(f"{name}|order"),
                int(n_critical),
                file.get_tensor(f"{name}|scales"),
                [
                    read_stage(stage, file.get_tensor(f"{name}|codes|{i}"))
                    for i, stage in enumerate(stages)
                ],
            )
        for key in names:
            first, _, what = key.partition("|")
            if what.startswith("codebook|"):
                model.codebooks.setdefault(first, []).append(file.get_tensor(key))
            elif what == "vector":
                model.vectors[first] = file.get_tensor(key)
    return model


def read_stage(text: str, codes: Tensor) -> CodedStage:
    """A stage from the text that save_coded makes of it."""
    codebook, _, first = text.partition(",")
    return CodedStage(int(codebook), int(first), codes)
