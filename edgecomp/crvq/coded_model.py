"""The coded linears of a model, between the stages of the encoder; can be saved and loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from edgecomp.tuning.stage_file import read_stage, write_stage
from edgecomp.tuning.tunable import TunableModel

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

    def decode(self, tables: Sequence[Tensor]) -> Tensor:
        """The weights with the tensor's own order of columns, float (rows, columns)."""
        unit = self.unit(tables)
        natural = torch.empty_like(unit)
        natural[:, self.order] = unit
        return self.scales[:, None] * natural

    def stored(self, scales: Tensor, tables: Sequence[Tensor]) -> Tensor:
        """The weights in stored order, float (rows, columns)."""
        return scales[:, None] * self.unit(tables)

    def product(self, x: Tensor, stored: Tensor, bias: Tensor | None) -> Tensor:
        """y = W x + b, float (..., rows), of weights in stored order and x (..., columns)."""
        weight = torch.empty_like(stored).index_copy(1, self.order, stored)
        return torch.nn.functional.linear(x, weight, bias)

    def unit(self, codebooks: Sequence[Tensor]) -> Tensor:
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


CodedModel = TunableModel[CodedTensor]


def save_coded(model: CodedModel, path: Path) -> None:
    """Writes the model to a safetensors file, in one step; the same model gives the same bytes.

    Tensors and vectors go by number.
    """
    arrays: dict[str, Tensor] = {}
    for i, tensor in enumerate(model.tensors.values()):
        arrays[f"order {i}"] = tensor.order
        arrays[f"scales {i}"] = tensor.scales
        arrays |= {f"codes {i} {k}": stage.codes for k, stage in enumerate(tensor.stages)}
    for i, books in enumerate(model.codebooks.values()):
        arrays |= {f"codebook {i} {k}": book for k, book in enumerate(books)}
    arrays |= {f"vector {i}": vector for i, vector in enumerate(model.vectors.values())}
    write_stage(arrays, {"index": index_text(model)}, path)


def index_text(model: CodedModel) -> str:
    """What the file holds, as JSON."""
    tensors = [
        [t.name, t.group, t.n_critical, [[stage.codebook, stage.first] for stage in t.stages]]
        for t in model.tensors.values()
    ]
    codebooks = [[group, len(books)] for group, books in model.codebooks.items()]
    return json.dumps([tensors, codebooks, list(model.vectors)])


def load_coded(path: Path, device: torch.device) -> CodedModel:
    """The model in a file of `save_coded`, on the device."""
    stage = read_stage(path, device)
    tensors, codebooks, vectors = json.loads(stage.meta["index"])
    held = stage.tensors
    model = CodedModel()
    for i, (name, group, n_critical, places) in enumerate(tensors):
        stages = [
            CodedStage(codebook, first, held[f"codes {i} {k}"])
            for k, (codebook, first) in enumerate(places)
        ]
        model.tensors[name] = CodedTensor(
            name, group, held[f"order {i}"], n_critical, held[f"scales {i}"], stages
        )
    for i, (group, n) in enumerate(codebooks):
        model.codebooks[group] = [held[f"codebook {i} {k}"] for k in range(n)]
    for i, name in enumerate(vectors):
        model.vectors[name] = held[f"vector {i}"]
    return model
