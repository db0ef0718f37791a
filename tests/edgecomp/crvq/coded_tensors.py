"""Coded tensors with random codes, for tests of what is made from them."""

from __future__ import annotations

import torch
from torch import Tensor

from edgecomp.crvq.coded_model import CodedModel, CodedStage, CodedTensor

__all__ = ["random_coded", "random_model"]


def random_coded(
    name: str,
    shape: tuple[int, int],
    group: str = "g",
    n_critical: int = 8,
    critical: str = "codebooks",
    dim: int = 8,
) -> CodedTensor:
    """A coded tensor of one basic codebook and of two others, or one of scalars, if critical."""
    rows, columns = shape
    generator = torch.Generator().manual_seed(rows * 1000 + columns)

    def codes(groups: int, codewords: int) -> Tensor:
        return torch.randint(0, codewords, (rows, groups), generator=generator).to(torch.uint8)

    groups = -(-columns // dim)
    scalar = critical == "scalar" and n_critical > 0
    first = n_critical if scalar else 0
    stages = [CodedStage(0, first, codes(groups - first // dim, 16))]
    if scalar:
        stages.append(CodedStage(1, 0, codes(n_critical, 16)))
    elif n_critical:
        stages += [CodedStage(k, 0, codes(n_critical // dim, 16)) for k in (1, 2)]
    return CodedTensor(
        name=name,
        group=group,
        order=torch.randperm(columns, generator=generator),
        n_critical=n_critical,
        scales=torch.rand(rows, generator=generator) + 0.5,
        stages=stages,
    )


def random_model(*tensors: CodedTensor, critical: str = "codebooks", dim: int = 8) -> CodedModel:
    """A model of those tensors, with codebooks of 16 codewords for each of their groups."""
    model = CodedModel({tensor.name: tensor for tensor in tensors})
    for i, group in enumerate(sorted({tensor.group for tensor in tensors})):
        generator = torch.Generator().manual_seed(i)
        dims = [dim, 1] if critical == "scalar" else [dim, dim, dim]
        model.codebooks[group] = [
            torch.randn(16, each, generator=generator) / 2**k for k, each in enumerate(dims)
        ]
    return model
