"""Which tensors share codebooks: chosen by measured loss per byte.

A bit per weight more lowers a codec's squared error four times; so of two ways to share, the better
one has the smaller log2(loss) / 2 + bits per weight of codebooks. The loss is that of the whole
model with basic codebooks, fitted to a sample of rows of every tensor; extended ones, whose bits
count as well, are taken to lose as much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgecomp.crvq.columns import ColumnPlan
from edgecomp.crvq.linears import Linears
from edgecomp.encode.crvq.clusters import kmeans
from edgecomp.encode.crvq.expectation import GroupedTarget, fit_codebook, weighted_codes
from edgecomp.encode.settings import CrvqSettings
from edgecomp.tuning.names import kind_of

__all__ = ["Sharing", "choose_sharing", "group_names", "measured_sharing"]

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


@dataclass(frozen=True)
class Sample:
    """Some rows of a matrix, and how many of its rows each one stands for."""

    target: GroupedTarget
    factor: float


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
) -> str:
    """The best way to share; nothing is measured where only one is possible."""
    ways = possible_ways(tensor_sizes(linears))
    if len(ways) == 1:
        return ways[0]
    return measured_sharing(linears, plans, generator, show)[0].share


def tensor_sizes(linears: Linears) -> dict[str, int]:
    """Weights of every tensor."""
    return {name: math.prod(linears.checkpoint.source(name).shape) for name in linears.names}


def possible_ways(sizes: Mapping[str, int]) -> list[str]:
    """The ways in which no more weights share codebooks than may be in memory together."""
    found = ["tensor"]
    for share in ("kind", "model"):
        weights = dict.fromkeys(group_names(list(sizes), share).values(), 0)
        for name, group in group_names(list(sizes), share).items():
            weights[group] += sizes[name]
        if max(weights.values(), default=0) <= SHARED_WEIGHTS:
            found.append(share)
    return found


def measured_sharing(
    linears: Linears,
    plans: Mapping[str, ColumnPlan],
    generator: torch.Generator,
    show: Callable[[str, int], None],
) -> list[Sharing]:
    """The ways to share that are possible, as measured, the best one first."""
    sizes = tensor_sizes(linears)
    samples: dict[str, Sample] = {}
    for site, hessian in linears.each_site(show):
        for name in site.tensors:
            weight = linears.weighted(name)
            order = plans[name].order.to(weight.device)
            part = sample(weight[:, order], hessian[order][:, order],
                          linears.settings.dim, generator)  # fmt: skip
            samples[name] = Sample(part, len(weight) / len(part.target))
    found = []
    for share in possible_ways(sizes):
        groups = group_names(list(sizes), share)
        errors = [
            group_errors([samples[name] for name in groups if groups[name] == group],
                         linears.settings, generator)
            for group in dict.fromkeys(groups.values())
        ]  # fmt: skip
        left, total = (sum(column) for column in zip(*errors, strict=True))
        bits = len(errors) * codebook_bits(linears.settings) / sum(sizes.values())
        found.append(Sharing(share, left / total if total > 0 else 0.0, bits))
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
    metric = blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1).clone()  # not a view of them all
    return GroupedTarget(target, target.square().mean(1).sqrt(), metric)


def group_errors(
    parts: Sequence[Sample], settings: CrvqSettings, generator: torch.Generator
) -> tuple[float, float]:
    """What one basic codebook leaves of all parts' weighted squares, and the squares themselves."""
    dim = settings.dim
    targets = [part.target for part in parts]
    scales = [torch.where(t.scales > 0, t.scales, torch.ones_like(t.scales)) for t in targets]
    vectors = torch.cat(
        [(t.target / s[:, None]).reshape(-1, dim) for t, s in zip(targets, scales, strict=True)]
    )
    order = torch.randperm(len(vectors), generator=generator)[: 1 << 15]
    start = kmeans(vectors[order.to(vectors.device)], 1 << settings.codebook_bits, 5, generator)
    book = fit_codebook(targets, start, EXPECTATIONS)
    left = total = 0.0
    for part in parts:
        decoded = part.target.scales[:, None, None] * book[weighted_codes(part.target, book)]
        weights = part.target.target.reshape(decoded.shape)
        metric, error = part.target.metric, weights - decoded
        left += part.factor * float(torch.einsum("ogi,gij,ogj->", error, metric, error))
        total += part.factor * float(torch.einsum("ogi,gij,ogj->", weights, metric, weights))
    return left, total
