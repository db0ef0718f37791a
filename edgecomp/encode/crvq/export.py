"""Coded matrices as tensors of a container: integer codebooks, byte codes, float16 row scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from edgecomp.encode.crvq.layer import Problem
from edgecomp.encode.row_scales import stored_row_scales
from edgecomp.encode.source import WeightError
from runtime_ops import reference
from runtime_ops.formats import (
    ColumnsFormat,
    CrvqFormat,
    EncodedTensor,
    Format,
    PlainFormat,
    Table,
)
from runtime_ops.formats.columns import MAX_PERMUTED
from runtime_ops.formats.crvq import MAX_SHIFT

__all__ = ["CodedStage", "IntegerCodebooks", "StoredMatrix", "integer_codebooks", "padded_problem",
           "stored_tensor"]  # fmt: skip

CodebookType = Literal["int8", "int16"]


@dataclass(frozen=True)
class IntegerCodebooks:
    """Codebooks of one dimension as integers: codeword = unit * 2**shift * number."""

    table: Table  # int8 or int16 (stages, codewords, dim)
    shifts: tuple[int, ...]
    unit: float
    dim: int
    code_bits: int

    @property
    def values(self) -> NDArray[np.float64]:
        """The codewords that these stand for, float64 (stages, codewords, dim)."""
        numbers = self.table.array.astype(np.float64).reshape(len(self.shifts), -1, self.dim)
        return numbers * self.unit * np.exp2(self.shifts)[:, None, None]


@dataclass(frozen=True)
class CodedStage:
    """One stage's codes, integers (rows, groups)."""

    codes: NDArray[np.integer]


@dataclass(frozen=True)
class StoredMatrix:
    """A matrix in stored order, ready to be written.

    `basic` and `critical` hold the stages of the main codec and of critical columns that have a
    codec of their own (scalars); `books` and `critical_books` belong to them. `order` is the
    tensor's column at each position, None where a permutation has been folded into other tensors.
    """

    shape: tuple[int, int]
    scales: NDArray[np.float64]  # (rows,)
    order: NDArray[np.integer] | None
    stages: tuple[CodedStage, ...]
    books: IntegerCodebooks
    n_critical: int = 0  # columns of `critical`
    critical: tuple[CodedStage, ...] = ()
    critical_books: IntegerCodebooks | None = None


def integer_codebooks(
    codebooks: Sequence[NDArray[np.floating]], dtype: CodebookType
) -> IntegerCodebooks:
    """Codebooks (codewords, dim) of one dimension, rounded to integers with a common unit.

    The first one uses the whole range unless another is more than 2**MAX_SHIFT times larger; the
    others get the power of two that they need beside it.
    """
    largest = 127 if dtype == "int8" else 32767
    reach = [float(np.abs(book).max()) for book in codebooks]
    first = reach[0] or max(reach) or 1.0
    exponents = [math.ceil(math.log2(r / first) - 1e-9) if r > 0 else -MAX_SHIFT for r in reach]
    base = max(min(0, *exponents), max(exponents) - MAX_SHIFT)
    unit = first / largest * 2.0**base
    shifts = tuple(min(max(0, e - base), MAX_SHIFT) for e in exponents)
    numbers = [
        np.clip(np.rint(book / (unit * 2.0**shift)), -largest, largest)
        for book, shift in zip(codebooks, shifts, strict=True)
    ]
    codewords, dim = codebooks[0].shape
    return IntegerCodebooks(
        table=Table.of(np.stack(numbers).astype(dtype)),
        shifts=shifts,
        unit=unit,
        dim=dim,
        code_bits=max(1, (codewords - 1).bit_length()),
    )


def stored_tensor(
    matrix: StoredMatrix, original: NDArray[np.floating], shape: tuple[int, ...] | None = None
) -> EncodedTensor:
    """The tensor of a matrix, of `shape` (by default the matrix's); the bound is measured.

    `original` (rows, columns) has its columns as the tensor has them. WeightError for scales that
    no container holds.
    """
    columns = matrix.shape[1]
    rest, parts = matrix_parts(matrix.stages, matrix.books, matrix.scales, columns)
    fmt: Format = rest
    if matrix.critical_books is not None and matrix.n_critical:
        critical, more = matrix_parts(
            matrix.critical, matrix.critical_books, matrix.scales, matrix.n_critical
        )
        parts = {f"critical_{name}": part for name, part in more.items()} | parts
        fmt = ColumnsFormat(rest, critical, matrix.n_critical, order_table(matrix.order))
    elif matrix.order is not None:
        fmt = ColumnsFormat(rest, permutation=order_table(matrix.order))
    tensor = EncodedTensor(fmt, matrix.shape, parts)
    bound = largest_distance(reference.decode(tensor), original, matrix)
    return EncodedTensor(fmt, shape or matrix.shape, parts, bound)


def order_table(order: NDArray[np.integer] | None) -> Table | None:
    """The permutation as a table; None where columns are as they come.

    WeightError for more columns than a container's permutation has.
    """
    if order is None:
        return None
    if order.size > MAX_PERMUTED:
        raise WeightError(f"a matrix of {order.size} columns, expected at most {MAX_PERMUTED}")
    return Table.of(order.astype(np.uint16))


def matrix_parts(
    stages: Sequence[CodedStage],
    books: IntegerCodebooks,
    scales: NDArray[np.float64],
    columns: int,
) -> tuple[PlainFormat, dict[str, NDArray[np.generic]]]:
    """Format and parts of stages of one dimension."""
    unused = (0,) * (len(books.shifts) - len(stages))  # of codebooks that other tensors use
    critical_groups = (*(stage.codes.shape[1] for stage in stages[1:]), *unused)
    fmt = CrvqFormat(books.dim, books.code_bits, critical_groups, books.shifts, books.table)
    packed = [pack(stage.codes, books.code_bits) for stage in stages]
    half, factor = stored_row_scales(scales, books.unit)
    parts: dict[str, NDArray[np.generic]] = {"codes": packed[0].reshape(-1)}
    if len(packed) > 1:
        parts["extended"] = np.concatenate([plane.reshape(-1) for plane in packed[1:]])
    parts["scales"] = half
    parts["params"] = np.array([factor], np.float32)
    return fmt, parts


def pack(codes: NDArray[np.integer], code_bits: int) -> NDArray[np.uint8]:
    """The codes of every row in whole bytes, low bits first: uint8 (rows, bytes)."""
    if code_bits == 8:
        return np.ascontiguousarray(codes, np.uint8)
    bits = codes.astype(np.uint8)[:, :, None] >> np.arange(code_bits, dtype=np.uint8) & 1
    return np.packbits(bits.reshape(len(codes), -1), axis=1, bitorder="little")


def largest_distance(
    decoded: NDArray[np.float32], original: NDArray[np.floating], matrix: StoredMatrix
) -> float:
    """The largest Euclidean distance of a group of weights that share a code."""
    squares = (decoded.astype(np.float64) - original) ** 2
    if matrix.order is not None:
        squares = squares[:, matrix.order]
    spans = [(0, matrix.n_critical, matrix.critical_books), (matrix.n_critical, None, matrix.books)]
    sums = [
        np.add.reduceat(part, np.arange(0, part.shape[1], books.dim), axis=1).max()
        for first, last, books in spans
        if books is not None and (part := squares[:, first:last]).size
    ]
    return math.sqrt(max(sums))


def padded_problem(
    name: str, weight: torch.Tensor, hessian: torch.Tensor, extents: tuple[int, ...], dim: int
) -> Problem:
    """A problem whose columns are a multiple of `dim`: zeros behind, with a small metric.

    `weight` (rows, columns) and `hessian` are in stored order; `extents` are the columns of every
    extended stage, or of scalars.
    """
    pad = -weight.shape[1] % dim
    if pad:
        columns = weight.shape[1]
        wide = torch.zeros(columns + pad, columns + pad).to(hessian)
        wide[:columns, :columns] = hessian
        wide.diagonal()[columns:] = 1e-3 * hessian.diagonal().min()
        hessian = wide
        weight = torch.nn.functional.pad(weight, (0, pad))
    n_critical = extents[0] if extents else 0
    return Problem(name, weight.contiguous(), hessian, n_critical, extents)
