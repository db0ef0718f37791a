"""Best codes, one by one: k-means, single matrices, sweeps (crvq.md 7)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp.encode.crvq.clusters import kmeans, nearest
from edgecomp.encode.crvq.matrix import (
    CodedMatrix,
    best_codes,
    first_least,
    reconstruct,
    weighted_loss,
)
from edgecomp.encode.crvq.sweep import WINDOW, Window, cells, sweep, visit
from tests.edgecomp.encode.crvq.layers import random_books, random_matrix, seeded

LAYOUTS = {
    "basic": (1, 0),
    "extended": (4, 16),
    "all critical": (3, 64),
    "scalar": (2, 16),
}


def laid_out(name: str, seed: int = 3, rows: int = 24) -> tuple[CodedMatrix, list[torch.Tensor]]:
    """A matrix of 64 columns with one of the layouts of stages, and its codebooks."""
    stages, n_critical = LAYOUTS[name]
    generator = seeded(seed)
    books = random_books(generator, stages, 8, 16)
    if name == "scalar":
        books[1] = books[1][:, :1]
    return random_matrix((rows, 64), books, n_critical, generator), books


@pytest.mark.parametrize("n", [1, 2, 16, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_first_least_is_argmin(n: int, dtype: torch.dtype) -> None:
    """Also among equal scores (the first) and scores that hardly differ."""
    scores = torch.randn(500, n, generator=seeded(n), dtype=dtype)
    scores[100:200] = scores[100:200].round()
    scores[200:300] = 1e6
    scores[300:400] = 1 + torch.finfo(dtype).eps * scores[300:400].abs().ceil()
    scores[400:] *= 1e-20
    expected = (scores == scores.amin(1, keepdim=True)).int().argmax(1)
    assert torch.equal(first_least(scores.clone()), expected)


def test_best_code_is_the_best_of_all() -> None:
    """The loss of every candidate, written out; a row of scale 0 gets a valid code."""
    generator = seeded(5)
    (book,) = random_books(generator, 1, 4, 32)
    mix = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    metric = mix @ mix.T
    target = torch.randn(100, 4, generator=generator, dtype=torch.float64)
    scales = torch.rand(100, generator=generator, dtype=torch.float64)
    scales[7] = 0
    codes = best_codes(target @ metric, scales, book, metric)
    errors = target[:, None] - scales[:, None, None] * book
    losses = torch.einsum("oci,ij,ocj->oc", errors, metric, errors)
    chosen = losses.gather(1, codes[:, None])[:, 0]
    assert torch.allclose(chosen, losses.amin(1), rtol=1e-12)
    assert 0 <= int(codes[7]) < 32


def test_update_is_the_nearest_codeword_without_a_metric() -> None:
    """One codebook, H = I, scales 1: one sweep ends at the assignment of k-means."""
    matrix, books = laid_out("basic")
    matrix.hessian = torch.eye(64, dtype=torch.float64)
    matrix.scales = torch.ones(24, dtype=torch.float64)
    sweep(matrix, books, 8, matrix.weight - reconstruct(matrix, books))
    distances = torch.cdist(matrix.weight.reshape(-1, 8), books[0])
    assert torch.equal(matrix.stages[0].codes.reshape(-1), distances.argmin(1))
    assert torch.equal(nearest(matrix.weight.reshape(-1, 8), books[0]), distances.argmin(1))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_visit_raises_the_loss(layout: str) -> None:
    """Every single code step, from random codes, in every row."""
    matrix, books = laid_out(layout)
    error = matrix.weight - reconstruct(matrix, books)
    gradient = error @ matrix.hessian
    losses = (gradient * error).sum(1)
    window = Window(0, matrix.hessian, gradient, torch.zeros_like(gradient))
    visits = list(cells(matrix, books, 8, 0, 64))
    assert len(visits) == sum(stage.codes.shape[1] for stage in matrix.stages)
    for cell in visits:
        visit(matrix, books, cell, window)
        error = matrix.weight - reconstruct(matrix, books)
        now = ((error @ matrix.hessian) * error).sum(1)
        assert bool((now <= losses + 1e-9 * losses.max()).all()), cell
        losses = now


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 9),
    blocks=st.integers(1, 40),
    dim=st.sampled_from([1, 2, 4, 8, 16]),
    critical=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_sweep_keeps_its_gradient(
    rows: int, blocks: int, dim: int, critical: float, seed: int
) -> None:
    """After a sweep over any shape G is (W - V) H, and the loss has not risen."""
    generator = seeded(seed)
    n_critical = dim * int(blocks * critical)
    books = random_books(generator, 3 if n_critical else 1, dim, 8)
    matrix = random_matrix((rows, dim * blocks), books, n_critical, generator)
    before = weighted_loss(matrix, books)
    gradient = (matrix.weight - reconstruct(matrix, books)) @ matrix.hessian
    sweep(matrix, books, dim, gradient)
    again = (matrix.weight - reconstruct(matrix, books)) @ matrix.hessian
    assert torch.allclose(gradient, again, rtol=0, atol=1e-9 * float(again.abs().max() + 1))
    assert weighted_loss(matrix, books) <= before * (1 + 1e-12)


def test_sweep_by_windows_is_coordinate_descent() -> None:
    """Several windows give the codes that one window over all columns gives."""
    generator = seeded(8)
    books = random_books(generator, 2, 8, 16)
    columns = 2 * WINDOW + 24
    matrix = random_matrix((6, columns), books, 16, generator)
    plain = matrix.of_rows(torch.arange(6))
    sweep(matrix, books, 8, (matrix.weight - reconstruct(matrix, books)) @ matrix.hessian)
    gradient = (plain.weight - reconstruct(plain, books)) @ plain.hessian
    window = Window(0, plain.hessian, gradient, torch.zeros_like(gradient))
    for cell in cells(plain, books, 8, 0, columns):
        visit(plain, books, cell, window)
    for ours, theirs in zip(matrix.stages, plain.stages, strict=True):
        assert torch.equal(ours.codes, theirs.codes)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 40), codewords=st.sampled_from([2, 16, 32]), seed=st.integers(0, 1000))
def test_kmeans_with_few_vectors(n: int, codewords: int, seed: int) -> None:
    """A codebook of the full size; exact where there are no more vectors than codewords."""
    generator = seeded(seed)
    vectors = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    book = kmeans(vectors, codewords, 10, generator)
    assert book.shape == (codewords, 4)
    assert bool(book.isfinite().all())
    if n <= codewords:
        assert torch.allclose(book[nearest(vectors, book)], vectors, atol=1e-12)


def test_kmeans_with_equal_vectors() -> None:
    """Equal vectors, zeros too, come back exactly."""
    for value in (0.0, 1.5):
        vectors = torch.full((1000, 8), value)
        book = kmeans(vectors, 256, 10, seeded(1))
        assert torch.equal(book[nearest(vectors, book)], vectors)


def test_kmeans_ends_at_a_fixed_point() -> None:
    """Every codeword in use is the mean of its vectors, and two starts differ."""
    vectors = torch.randn(4000, 2, generator=seeded(2), dtype=torch.float64)
    book = kmeans(vectors, 8, 300, seeded(3))
    codes = nearest(vectors, book)
    for c in range(8):
        assert torch.allclose(book[c], vectors[codes == c].mean(0), atol=1e-5)
    assert not torch.equal(book, kmeans(vectors, 8, 300, seeded(4)))
