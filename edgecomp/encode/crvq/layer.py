"""Encodes matrices that share their codebooks: start, error feedback, then solves and sweeps.

Rows are independent of each other but for the codebooks, so whatever fits codebooks may look at a
sample of rows; codes and scales are set for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from edgecomp.encode.crvq.clusters import distortion, kmeans, nearest
from edgecomp.encode.crvq.expectation import GroupedTarget, fit_codebook, weighted_codes
from edgecomp.encode.crvq.feedback import encode_with_feedback
from edgecomp.encode.crvq.matrix import CodedMatrix, Stage, reconstruct, weighted_loss
from edgecomp.encode.crvq.solve import solve_codebooks, solve_scales
from edgecomp.encode.crvq.sweep import sweep
from edgecomp.encode.settings import CrvqSettings

__all__ = ["Problem", "encode_matrices"]

FIT_WEIGHTS = 1 << 21  # weights that codebooks are fitted on: 512 rows of 4096
START_VECTORS = 1 << 15  # that k-means starts a codebook from
START_ITERATIONS = 10
EXPECTATIONS = 8
SMALL_CODEBOOK, SMALL_STARTS = 64, 4  # codewords of codebooks where starts differ: the best of 4
GREEDY_VECTORS = 1 << 18  # for the published initialisation, which is k-means alone
GREEDY_ITERATIONS = 100
SCALAR_CODEWORDS = 16  # of critical columns as scalars: 4 bits
MODERATE = 20  # exponents of two up to which sizes are taken as they are
NEGLIGIBLE = 1e-15  # of a row beside the largest one

Report = Callable[[str, float], None]  # what was done, and the loss relative to that of zeros


@dataclass(frozen=True)
class Problem:
    """A matrix to encode: `weight` (rows, columns) with its columns in stored order.

    Columns are a multiple of the dimension; `hessian` (columns, columns) is positive definite.
    `n_critical` is a multiple of the dimension, and so are `extents`: the columns of every extended
    stage, not increasing; () stands for `n_critical` in all of them.
    """

    name: str
    weight: Tensor
    hessian: Tensor
    n_critical: int
    extents: tuple[int, ...] = ()

    def extent(self, stage: int) -> int:
        """Columns of an extended stage, from 0 on."""
        if not self.extents:
            return self.n_critical
        return self.extents[stage] if stage < len(self.extents) else 0

    def n_stages(self, extended: int) -> int:
        """Extended stages, `extended` where there are some and `extents` do not say."""
        return len(self.extents) or (extended if self.n_critical else 0)


def encode_matrices(
    problems: Sequence[Problem],
    settings: CrvqSettings,
    generator: torch.Generator,
    report: Report = lambda stage, loss: None,
) -> tuple[list[CodedMatrix], list[Tensor]]:
    """The coded matrices, and the codebooks that they share: the basic one, then the others.

    Deterministic for a generator's state on one machine. Zero rows get the scale 0.
    """
    unit = unit_of(float(p.weight.abs().max()) for p in problems)
    matrices = start_matrices(problems, unit)
    codebooks = start_codebooks(matrices, problems, settings, generator)
    if settings.initialisation == "hessian":
        losses = [encode_with_feedback(matrix, codebooks, settings.dim) for matrix in matrices]
    else:
        losses = [weighted_loss(matrix, codebooks) for matrix in matrices]
    asked = [matrix.weight @ matrix.hessian for matrix in matrices]
    total = sum(float((a * m.weight).sum()) for a, m in zip(asked, matrices, strict=True)) or 1.0
    report("start", sum(losses) / total)
    for number in range(settings.sweeps):
        codebooks = solve_codebooks(sample_rows(matrices, generator), codebooks)
        losses = [
            improve(matrix, codebooks, settings.dim, a)
            for a, matrix in zip(asked, matrices, strict=True)
        ]
        report(f"sweep {number + 1}", sum(losses) / total)
    for matrix, problem in zip(matrices, problems, strict=True):
        matrix.weight, matrix.hessian = problem.weight, problem.hessian
        matrix.scales = matrix.scales * unit
    return matrices, codebooks


def improve(matrix: CodedMatrix, codebooks: Sequence[Tensor], dim: int, asked: Tensor) -> float:
    """The loss after one sweep, with the best scales before and after; `asked` is W H.

    Two products as large as W H: the gradient, and what the sweep adds to it.
    """
    decoded = reconstruct(matrix, codebooks)
    gradient = decoded @ matrix.hessian
    factors = solve_scales(matrix, decoded, gradient)
    torch.addcmul(asked, gradient, factors[:, None], value=-1, out=gradient)
    sweep(matrix, codebooks, dim, gradient)
    decoded = reconstruct(matrix, codebooks)
    product = asked - gradient
    factors = solve_scales(matrix, decoded, product)
    gradient.addcmul_(product, 1 - factors[:, None])
    error = torch.addcmul(matrix.weight, decoded, factors[:, None], value=-1, out=decoded)
    return float(error.mul_(gradient).sum())


def unit_of(sizes: Iterable[float]) -> float:
    """A power of two near the largest size; 1.0 where squares in float32 do not need one."""
    largest = max(sizes)
    exponent = math.frexp(largest)[1] if largest > 0 else 0
    return 1.0 if abs(exponent) <= MODERATE else math.ldexp(1.0, exponent)


def start_matrices(problems: Sequence[Problem], unit: float) -> list[CodedMatrix]:
    """Matrices without codes, weights in units of `unit`, Hessians in a unit of their own.

    A row's scale is the root mean square of its weights, 0 if that is negligible.
    """
    of_hessians = unit_of(float(p.hessian.diagonal().mean()) for p in problems)
    made: dict[int, Tensor] = {}  # matrices with the same input share theirs
    matrices = []
    for problem in problems:
        weight, hessian = problem.weight, problem.hessian
        if unit != 1.0:
            weight = weight / unit
        if of_hessians != 1.0:
            hessian = made.setdefault(id(problem.hessian), hessian / of_hessians)
        scales = weight.square().mean(1).sqrt()
        scales = torch.where(scales > NEGLIGIBLE * scales.max(), scales, torch.zeros_like(scales))
        matrices.append(CodedMatrix(problem.name, weight, hessian, scales, [], problem.n_critical))
    return matrices


def sample_rows(
    matrices: Sequence[CodedMatrix], generator: torch.Generator
) -> Sequence[CodedMatrix]:
    """The matrices with so many of their rows, drawn at random, that all have FIT_WEIGHTS weights.

    All of them where they have no more than that.
    """
    n_weights = sum(m.weight.numel() for m in matrices)
    if n_weights <= FIT_WEIGHTS:
        return matrices
    picked = []
    for matrix in matrices:
        count = max(1, matrix.rows * FIT_WEIGHTS // n_weights)
        rows = torch.randperm(matrix.rows, generator=generator)[:count].to(matrix.weight.device)
        picked.append(matrix.of_rows(rows))
    return picked


def start_codebooks(
    matrices: Sequence[CodedMatrix],
    problems: Sequence[Problem],
    settings: CrvqSettings,
    generator: torch.Generator,
) -> list[Tensor]:
    """The codebooks to start with; gives every matrix its stages, with codes that fit them."""
    dim, codewords = settings.dim, 1 << settings.codebook_bits
    critical = any(matrix.n_critical for matrix in matrices)
    scalar = critical and settings.critical_codes == "scalar"
    greedy = settings.initialisation == "greedy"
    codebooks: list[Tensor] = []

    def add(width: int, count: int, part: Callable[[Problem], tuple[int, int]]) -> None:
        spans = [part(problem) for problem in problems]
        used = [(m, a, b) for m, (a, b) in zip(matrices, spans, strict=True) if b > a]
        book = start_codebook(used, codebooks, (width, count), settings, generator)
        codebooks.append(book)
        for matrix, first, last in used:
            # What error feedback sets anyway is left at 0 where no further codebook looks at it.
            end = last if greedy else min(last, max(first, matrix.n_critical))
            codes = torch.zeros(matrix.rows, (last - first) // width, dtype=torch.int64)
            codes = codes.to(matrix.weight.device)
            if end > first:
                target = remaining(matrix, codebooks[:-1], first, end, width)
                codes[:, : (end - first) // width] = start_codes(target, book, settings)
            matrix.stages.append(Stage(len(codebooks) - 1, first, last, codes))

    add(dim, codewords, lambda p: (p.n_critical if scalar else 0, p.weight.shape[1]))
    if scalar:
        add(1, SCALAR_CODEWORDS, lambda p: (0, p.n_critical))
    elif critical:
        for stage in range(max(p.n_stages(settings.extended) for p in problems)):
            add(dim, codewords, partial(extended_columns, stage=stage))
    return codebooks


def extended_columns(problem: Problem, stage: int) -> tuple[int, int]:
    """The first column of an extended stage, and the one behind its last."""
    return 0, problem.extent(stage)


def start_codebook(
    used: Sequence[tuple[CodedMatrix, int, int]],
    codebooks: Sequence[Tensor],
    size: tuple[int, int],
    settings: CrvqSettings,
    generator: torch.Generator,
) -> Tensor:
    """A codebook of `size` (dim, codewords) for what is left in columns first .. last - 1."""
    dim, codewords = size
    sampled = sample_rows([matrix for matrix, _, _ in used], generator)
    parts = [
        remaining(matrix, codebooks, first, last, dim)
        for matrix, (_, first, last) in zip(sampled, used, strict=True)
    ]
    vectors = torch.cat([normalised(part, dim) for part in parts])
    greedy = settings.initialisation == "greedy"
    order = torch.randperm(len(vectors), generator=generator)
    picked = vectors[order[: GREEDY_VECTORS if greedy else START_VECTORS].to(vectors.device)]
    if greedy:
        return kmeans(picked, codewords, GREEDY_ITERATIONS, generator)
    starts = SMALL_STARTS if codewords <= SMALL_CODEBOOK else 1
    books = [kmeans(picked, codewords, START_ITERATIONS, generator) for _ in range(starts)]
    best = min(books, key=lambda book: distortion(picked, book))
    return fit_codebook(parts, best, EXPECTATIONS)


def start_codes(part: GroupedTarget, book: Tensor, settings: CrvqSettings) -> Tensor:
    """The codes of every group by itself: nearest under its metric, or plainly nearest."""
    if settings.initialisation == "hessian":
        return weighted_codes(part, book)
    return nearest(normalised(part, book.shape[1]), book).reshape(len(part.scales), -1)


def remaining(
    matrix: CodedMatrix, codebooks: Sequence[Tensor], first: int, last: int, dim: int
) -> GroupedTarget:
    """What the stages so far leave of the columns first .. last - 1, in groups of `dim`."""
    left = matrix.weight[:, first:last].clone()
    for stage in matrix.stages:
        a, b = max(first, stage.first), min(last, stage.last)
        if a < b:
            width = codebooks[stage.codebook].shape[1]
            codes = stage.codes[:, (a - stage.first) // width : (b - stage.first) // width]
            part = codebooks[stage.codebook][codes].reshape(matrix.rows, -1)
            left[:, a - first : b - first] -= matrix.scales[:, None] * part
    metric = matrix.metric(first, dim, (last - first) // dim)
    return GroupedTarget(left, matrix.scales, metric)


def normalised(part: GroupedTarget, dim: int) -> Tensor:
    """The groups in units of their row's scale, float (rows * groups, dim)."""
    scales = torch.where(part.scales > 0, part.scales, torch.ones_like(part.scales))
    return (part.target / scales[:, None]).reshape(-1, dim)
