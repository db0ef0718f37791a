"""Whole matrices: stages, initialisations, seeds, shared codebooks, layers that break others."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from edgecomp.encode.crvq.export import padded_problem
from edgecomp.encode.crvq.importance import damped
from edgecomp.encode.crvq.layer import Problem, encode_matrices
from edgecomp.encode.crvq.matrix import CodedMatrix, reconstruct, weighted_loss
from edgecomp.encode.settings import CrvqSettings
from runtime_ops import EncodedTensor, reference
from runtime_ops.formats import ColumnsFormat, CrvqFormat
from tests.edgecomp.encode.crvq.layers import random_hessian, seeded
from tests.edgecomp.encode.crvq.one_matrix import encode_matrix

SMALL = CrvqSettings(codebook_bits=5, dim=8, sweeps=3)


def layer(rows: int, columns: int, seed: int, decay: float = 1.0) -> Problem:
    """A random layer in float32 with an eighth of its columns critical."""
    generator = seeded(seed)
    hessian = random_hessian(columns, generator, decay).float()
    weight = 0.02 * torch.randn(rows, columns, generator=generator)
    return Problem(f"layer {seed}", weight, hessian, columns // 64 * 8)


def encoded(
    problem: Problem, settings: CrvqSettings, seed: int = 0
) -> tuple[CodedMatrix, list[torch.Tensor], list[float]]:
    """The matrix, its codebooks and the relative losses on the way."""
    losses: list[float] = []
    (matrix,), books = encode_matrices(
        [problem], settings, seeded(seed), lambda _, loss: losses.append(loss)
    )
    return matrix, books, losses


@pytest.mark.parametrize("critical_codes", ["codebooks", "scalar"])
@pytest.mark.parametrize("initialisation", ["hessian", "greedy"])
def test_reported_losses_are_true_and_fall(critical_codes: str, initialisation: str) -> None:
    """Every sweep with its solves lowers the loss, also in float32; the last one is measured."""
    problem = layer(96, 256, 1)
    settings = replace(SMALL, critical_codes=critical_codes, initialisation=initialisation)
    matrix, books, losses = encoded(problem, settings)
    assert len(losses) == 1 + settings.sweeps
    assert all(b < a for a, b in itertools.pairwise(losses))
    zeros = float(((problem.weight @ problem.hessian) * problem.weight).sum())
    assert losses[-1] == pytest.approx(weighted_loss(matrix, books) / zeros, rel=1e-4)
    start, _, (first,) = encoded(problem, replace(settings, sweeps=0))
    assert first == pytest.approx(losses[0])
    assert all(stage.codes.dtype == torch.int64 for stage in start.stages)
    spans = [(stage.first, stage.last) for stage in matrix.stages]
    scalar = critical_codes == "scalar"
    assert spans == ([(32, 256), (0, 32)] if scalar else [(0, 256), *[(0, 32)] * 3])
    assert [tuple(book.shape) for book in books][1:] == ([(16, 1)] if scalar else [(32, 8)] * 3)


def test_all_critical_is_additive_quantisation() -> None:
    """Critical 1 with m codebooks: every group is a sum of m codewords, each one worth its bits."""
    problem = layer(128, 128, 2, decay=0.0)
    last = []
    for extended in (1, 2, 3):
        settings = replace(SMALL, extended=extended)
        matrix, books, losses = encoded(replace(problem, n_critical=128), settings)
        assert [(s.codebook, s.first, s.last) for s in matrix.stages] == [
            (k, 0, 128) for k in range(1 + extended)
        ]
        unit = sum(books[s.codebook][s.codes] for s in matrix.stages)
        decoded = matrix.scales[:, None] * torch.as_tensor(unit).reshape(128, 128)
        assert torch.allclose(decoded, reconstruct(matrix, books), atol=1e-6)
        last.append(losses[-1])
    single = encoded(replace(problem, n_critical=0), SMALL)[2][-1]
    assert single > last[0] > last[1] > last[2]


def test_hessian_start_beats_greedy() -> None:
    """On inputs with a skewed spectrum: before any sweep by far, and after three of them."""
    problem = layer(256, 128, 3, decay=1.2)
    ours = encoded(problem, SMALL)[2]
    greedy = encoded(problem, replace(SMALL, initialisation="greedy"))[2]
    assert ours[0] < 0.6 * greedy[0]
    assert ours[-1] < greedy[-1]


def test_seed_decides() -> None:
    """The same codes and codebooks again for a seed, others for another one."""
    problem = layer(64, 128, 4)
    first, books, _ = encoded(problem, SMALL, 7)
    again, books_again, _ = encoded(problem, SMALL, 7)
    other, books_other, _ = encoded(problem, SMALL, 8)
    assert all(map(torch.equal, books, books_again))
    assert torch.equal(first.scales, again.scales)
    for a, b in zip(first.stages, again.stages, strict=True):
        assert torch.equal(a.codes, b.codes)
    assert not torch.equal(books[0], books_other[0])
    assert not torch.equal(first.stages[0].codes, other.stages[0].codes)


def test_matrices_share_codebooks() -> None:
    """Codebooks for several shapes, one without critical columns; inputs stay as they are."""
    problems = [layer(64, 128, 5), replace(layer(40, 64, 6), n_critical=0), layer(8, 192, 7)]
    copies = [(p.weight.clone(), p.hessian.clone()) for p in problems]
    losses: list[float] = []
    matrices, books = encode_matrices(
        problems, SMALL, seeded(1), lambda _, loss: losses.append(loss)
    )
    assert len(books) == 4
    assert [len(matrix.stages) for matrix in matrices] == [4, 1, 4]
    for problem, matrix, (weight, hessian) in zip(problems, matrices, copies, strict=True):
        assert matrix.name == problem.name
        assert torch.equal(problem.weight, weight)
        assert torch.equal(problem.hessian, hessian)
        zeros = float(((weight @ hessian) * weight).sum())
        assert weighted_loss(matrix, books) < 0.5 * zeros
    assert losses == sorted(losses, reverse=True)


DEGENERATE = {
    "narrow": (64, 120),
    "192 x 576": (192, 576),
    "not divisible by 8": (40, 203),
    "one row": (1, 512),
    "one group": (30, 8),
    "fewer than one group": (30, 3),
    "one weight": (1, 1),
}


def decoded(tensor: EncodedTensor) -> np.ndarray:
    """The weights of a tensor, float64."""
    return reference.decode(tensor).astype(np.float64)


@pytest.mark.parametrize("critical_codes", ["codebooks", "scalar"])
@pytest.mark.parametrize(
    ("critical", "allocation"), [(0.02, "even"), (0.02, "measured"), (0.5, "even")]
)
@pytest.mark.parametrize("shape", DEGENERATE.values(), ids=DEGENERATE)
def test_shapes_that_break_others(
    shape: tuple[int, int], critical: float, allocation: str, critical_codes: str
) -> None:
    """Finite weights that explain most of the matrix."""
    rng = np.random.default_rng(1)
    weights = rng.normal(0, 0.02, shape).astype(np.float32)
    settings = CrvqSettings(
        critical=critical, critical_codes=critical_codes, allocation=allocation, sweeps=1
    )
    hessian = random_hessian(shape[1], seeded(1)).numpy()
    error = decoded(encode_matrix(weights, settings, hessian)) - weights
    loss = np.einsum("oi,ij,oj->", error, hessian, error)
    assert loss < 0.5 * np.einsum("oi,ij,oj->", weights, hessian, weights)


@pytest.mark.parametrize("initialisation", ["hessian", "greedy"])
@pytest.mark.parametrize("critical_codes", ["codebooks", "scalar"])
def test_zero_stays_zero_and_constant_stays(critical_codes: str, initialisation: str) -> None:
    """A matrix of zeros, rows of zeros among others, and a constant matrix within 0.1 %."""
    settings = CrvqSettings(
        critical=0.1, critical_codes=critical_codes, initialisation=initialisation
    )
    shape = (24, 96)
    assert not decoded(encode_matrix(np.zeros(shape, np.float32), settings)).any()
    for value in (-0.03, 1.0, 7e4):
        constant = np.full(shape, value, np.float32)
        found = decoded(encode_matrix(constant, settings))
        assert np.abs(found / value - 1).max() < 1e-3
    some = np.random.default_rng(2).normal(0, 1, shape).astype(np.float32)
    some[::3] = 0
    found = decoded(encode_matrix(some, settings))
    assert not found[::3].any()
    assert np.square(found - some).mean() < 0.4 * np.square(some).mean()


def singular_hessians(columns: int) -> dict[str, np.ndarray]:
    """Hessians that have no inverse, and sizes that float32 has no squares for."""
    rng = np.random.default_rng(3)
    one = rng.normal(0, 1, (columns, 1))
    dead = random_hessian(columns, seeded(2)).numpy().copy()
    dead[5:30] = dead[:, 5:30] = 0
    return {
        "rank 1": one @ one.T,
        "dead inputs": dead,
        "zero": np.zeros((columns, columns)),
        "tiny": dead * 1e-25,
        "huge": dead * 1e25,
    }


@pytest.mark.parametrize("kind", ["activation", "obs"])
@pytest.mark.parametrize("name", singular_hessians(1))
def test_singular_hessians(name: str, kind: str) -> None:
    """Finite weights; the loss that the inputs see is small."""
    weights = np.random.default_rng(4).normal(0, 0.02, (48, 96)).astype(np.float32)
    hessian = singular_hessians(96)[name]
    settings = CrvqSettings(critical=0.1, importance=kind, sweeps=2)
    error = decoded(encode_matrix(weights, settings, hessian)) - weights
    loss = np.einsum("oi,ij,oj->", error, hessian, error)
    assert loss <= 0.3 * np.einsum("oi,ij,oj->", weights, hessian, weights)
    assert np.abs(error).max() < 0.2


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e-5, 1.0, 1e15, 1e30])
def test_weights_of_any_size(size: float) -> None:
    """The same relative loss and codes within float32's rounding, with all stages finite."""
    problem = layer(48, 128, 8)
    expected = encoded(problem, SMALL)[2]
    scaled = replace(problem, weight=problem.weight * size)
    matrix, books, losses = encoded(scaled, SMALL)
    assert losses == pytest.approx(expected, rel=0.02)
    assert bool(reconstruct(matrix, books).isfinite().all())
    error = (reconstruct(matrix, books).double() - scaled.weight.double()) / size
    small = float(((error @ problem.hessian.double()) * error).sum())
    weight = problem.weight.double()
    zeros = float(((weight @ problem.hessian.double()) * weight).sum())
    assert small / zeros == pytest.approx(losses[-1], rel=1e-3)


def test_rows_of_different_sizes() -> None:
    """A row a million times as large as another: each keeps its own relative error."""
    problem = layer(60, 128, 9, decay=0.3)
    gains = 10.0 ** torch.linspace(-3, 3, 60)
    matrix, books, _ = encoded(replace(problem, weight=problem.weight * gains[:, None]), SMALL)
    error = reconstruct(matrix, books) - matrix.weight
    losses = ((error @ matrix.hessian) * error).sum(1)
    ratios = losses / ((matrix.weight @ matrix.hessian) * matrix.weight).sum(1)
    assert float(ratios.max()) < 0.9
    assert float(ratios.median()) < 0.6


def test_stored_order_is_a_permutation() -> None:
    """decode(V)[:, order] @ x[order] == decode(V) @ x, and without critical columns no order."""
    weights = np.random.default_rng(5).normal(0, 1, (32, 128)).astype(np.float32)
    hessian = random_hessian(128, seeded(5)).numpy()
    settings = CrvqSettings(codebook_bits=4, critical=0.1, sweeps=1)
    tensor = encode_matrix(weights, settings, hessian)
    fmt = tensor.format
    assert isinstance(fmt, ColumnsFormat)
    assert fmt.permutation is not None
    order = fmt.permutation.array.astype(np.int64)
    assert sorted(order) == list(range(128))
    assert list(order) != sorted(order)
    inner = decoded(EncodedTensor(fmt.rest, tensor.shape, tensor.parts))
    assert np.array_equal(inner, decoded(tensor)[:, order])
    x = np.random.default_rng(6).normal(0, 1, 128)
    assert np.allclose(inner @ x[order], decoded(tensor) @ x, rtol=1e-12)
    plain = encode_matrix(weights, replace(settings, critical=0.0), hessian)
    assert isinstance(plain.format, CrvqFormat)


def test_padding_does_not_count() -> None:
    """Columns that fill the last group hardly move what the others become."""
    generator = seeded(10)
    weight = torch.randn(64, 61, generator=generator)
    hessian = damped(random_hessian(61, generator).float(), 0.01)
    problem = padded_problem("", weight, hessian, (), 8)
    matrix, books, losses = encoded(problem, SMALL)
    error = (reconstruct(matrix, books) - problem.weight)[:, :61]
    loss = float(((error @ hessian) * error).sum())
    zeros = float(((weight @ hessian) * weight).sum())
    assert loss / zeros == pytest.approx(losses[-1], rel=0.02)
