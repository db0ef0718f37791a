"""Which tensors share codebooks: chosen by measured loss per byte.

A bit per weight more lowers a codec's squared error four times; so of two ways to share, the better
one has the smaller log2(loss) / 2 + bits per weight of codebooks. The loss is that of a basic
codebook fitted to a sample of rows of every tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgecomp.crvq.columns import ColumnPlan
from edgecomp.crvq.linears import Linears, kind_of
from edgecomp.encode.crvq.clusters import kmeans
from edgecomp.encode.crvq.expectation import GroupedTarget, fit_codebook, weighted_codes
from edgecomp.encode.settings import CrvqSettings

__all__ = ["Sharing", "choose_sharing", "group_names"]

SAMPLE_WEIGHTS = 1 << 16  # of a tensor
EXPECTATIONS = 4
SHARED_WEIGHTS = 1 << 27  # that may share codebooks at most: they are in memory together
BOOKS_BITS = 8  # of a codebook's entry


@dataclass(frozen=True)
class Sharing:
    """A way to share, and what it was measured at: `loss` relative to zeros, `bpw` of codebooks."""

    share: str
    loss: float
    bpw: float

    @property
    def score(self) -> float:
        """Bits per weight that this costs, its loss included; less is better."""
        return math.log2(max(self.loss, 1e-30)) / 2 + self.bpw


def group_names(names: Sequence[str], share: str) -> dict[str, str]:
    """The group of every tensor: itself, its kind, or the one of the model."""
    match share:
        case "tensor":
            return {name: name for name in names}
        case "kind":
            return {name: kind_of(name) for name in names}
        case _:
            return dict.fromkeys(names, "model")


def choose_sharing(
    linears: Linears,
    plans: Mapping[str, ColumnPlan],
    generator: torch.Generator,
    show: Callable[[str, int], None],
) -> list[Sharing]:
    """The ways to share that are possible, the best one first."""
    sizes: dict[str, int] = {}
    samples: dict[str, GroupedTarget] = {}
    for site, hessian in linears.each_site(show):
        for name in site.tensors:
            weight = linears.weighted(name)
            sizes[name] = weight.numel()
            order = plans[name].order.to(weight.device)
            samples[name] = sample(weight[:, order], hessian[order][:, order],
                                   linears.settings.dim, generator)  # fmt: skip
    found = []
    for share in ("tensor", "kind", "model"):
        groups = group_names(list(sizes), share)
        weights = {
            group: sum(n for name, n in sizes.items() if groups[name] == group)
            for group in groups.values()
        }
        if share != "tensor" and max(weights.values()) > SHARED_WEIGHTS:
            continue
        loss = sum(
            group_loss([samples[name] for name in groups if groups[name] == group],
                       linears.settings, generator) * n
            for group, n in weights.items()
        )  # fmt: skip
        bits = len(weights) * codebook_bits(linears.settings)
        found.append(Sharing(share, loss / sum(sizes.values()), bits / sum(sizes.values())))
    return sorted(found, key=lambda sharing: sharing.score)


def codebook_bits(settings: CrvqSettings) -> int:
    """Bits of one set of codebooks."""
    extended = settings.critical > 0 and settings.critical_codes == "codebooks"
    stages = 1 + (settings.extended if extended else 0)
    return stages * settings.dim * BOOKS_BITS << settings.codebook_bits


def sample(weight: Tensor, hessian: Tensor, dim: int, generator: torch.Generator) -> GroupedTarget:
    """Some rows of a matrix (in stored order) as targets of a codebook."""
    columns = weight.shape[1] // dim * dim
    if columns == 0:
        weight = torch.nn.functional.pad(weight, (0, dim - weight.shape[1]))
        return GroupedTarget(
            weight, weight.square().mean(1).sqrt(), torch.eye(dim).to(weight)[None]
        )
    count = max(1, SAMPLE_WEIGHTS // columns)
    rows = torch.randperm(len(weight), generator=generator)[:count].to(weight.device)
    target = weight[rows, :columns]
    blocks = hessian[:columns, :columns].reshape(columns // dim, dim, columns // dim, dim)
    metric = blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    return GroupedTarget(target, target.square().mean(1).sqrt(), metric)


def group_loss(
    parts: Sequence[GroupedTarget], settings: CrvqSettings, generator: torch.Generator
) -> float:
    """The loss of one basic codebook on all parts, relative to that of zeros."""
    dim = settings.dim
    scales = [torch.where(p.scales > 0, p.scales, torch.ones_like(p.scales)) for p in parts]
    vectors = torch.cat(
        [(p.target / s[:, None]).reshape(-1, dim) for p, s in zip(parts, scales, strict=True)]
    )
    order = torch.randperm(len(vectors), generator=generator)[: 1 << 15]
    start = kmeans(vectors[order.to(vectors.device)], 1 << settings.codebook_bits, 5, generator)
    book = fit_codebook(parts, start, EXPECTATIONS)
    left = total = 0.0
    for part in parts:
        decoded = part.scales[:, None, None] * book[weighted_codes(part, book)]
        target = part.target.reshape(decoded.shape)
        error = target - decoded
        left += float(torch.einsum("ogi,gij,ogj->", error, part.metric, error))
        total += float(torch.einsum("ogi,gij,ogj->", target, part.metric, target))
    return left / total if total > 0 else 0.0
