"""The first codes of all linears: layer by layer, from weights and statistics alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from edgecomp.crvq.coded_model import CodedModel, CodedStage, CodedTensor
from edgecomp.crvq.columns import ColumnPlan
from edgecomp.crvq.linears import Linears
from edgecomp.crvq.sharing import group_names
from edgecomp.encode.crvq.export import padded_problem
from edgecomp.encode.crvq.layer import Problem, encode_matrices
from edgecomp.encode.crvq.matrix import CodedMatrix
from edgecomp.tuning.seeds import seeded

__all__ = ["LayerReport", "encode_group", "groups_of"]

LayerReport = Callable[[str, str, float], None]  # the first tensor, what was done, relative loss


def groups_of(linears: Linears, share: str) -> dict[str, tuple[str, ...]]:
    """The tensors of every group of shared codebooks, in the order in which they run."""
    names = group_names(linears.names, share)
    groups: dict[str, tuple[str, ...]] = {}
    for name, group in names.items():
        groups[group] = (*groups.get(group, ()), name)
    return groups


def encode_group(
    linears: Linears,
    plans: Mapping[str, ColumnPlan],
    group: tuple[str, Sequence[str]],
    report: LayerReport,
) -> CodedModel:
    """The coded linears of one group (its name, its tensors), all in memory together."""
    key, names = group
    generator = seeded(linears.settings.seed, key)
    sites = {name: site for site in linears.sites for name in site.tensors}
    hessians: dict[tuple[str, ...], Tensor] = {}
    problems = []
    for name in names:
        site = sites[name]
        order = plans[name].order.to(linears.device)
        if site.tensors not in hessians:
            hessians[site.tensors] = linears.hessian(site)[order][:, order]
        weight = linears.weighted(name)[:, order]
        extents, dim = plans[name].critical, linears.settings.dim
        problems.append(padded_problem(name, weight, hessians[site.tensors], extents, dim))
    matrices, books = encode_matrices(
        problems, linears.settings, generator, lambda what, loss: report(names[0], what, loss)
    )
    size = float(books[0].square().mean().sqrt()) or 1.0
    coded = CodedModel(codebooks={key: [book / size for book in books]})
    for matrix, problem in zip(matrices, problems, strict=True):
        scales = matrix.scales * size / linears.row_factors(matrix.name, matrix.rows)
        coded.tensors[matrix.name] = coded_tensor(key, matrix, problem, plans[matrix.name], scales)
    return coded


def coded_tensor(
    group: str, matrix: CodedMatrix, problem: Problem, plan: ColumnPlan, scales: Tensor
) -> CodedTensor:
    """What is kept of an encoded matrix."""
    return CodedTensor(
        name=matrix.name,
        group=group,
        order=plan.order.to(scales.device),
        n_critical=problem.n_critical,
        scales=scales.float(),
        stages=[
            CodedStage(stage.codebook, stage.first, stage.codes.to(torch.uint8))
            for stage in matrix.stages
        ],
    )
