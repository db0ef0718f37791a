"""Test vectors of codebooks and of reordered columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from runtime_ops import reference
from runtime_ops.formats import (
    ColumnsFormat,
    CrvqFormat,
    EncodedTensor,
    PlainFormat,
    RawFormat,
    Table,
)
from runtime_ops.formats.crvq import CRVQ_DIMS, TABLE_ROWS
from tests.runtime_ops.vectors import (
    GEMV,
    LATTICE,
    PAPER,
    SEED,
    Case,
    activations,
    gemm_case,
    prepare_case,
    random_tensor,
    tensor_cases,
)

STAGES = (1, 2, 4, 8)
TOKENS = (1, 3, 17)
THREADS = 4


def crvq_format(dim: int, code_bits: int, wide: bool, critical: tuple[int, ...]) -> CrvqFormat:
    """A format with random codebooks, which hold the extremes of their type, and random shifts.

    `critical` are the groups of stages 1 and up.
    """
    stages = 1 + len(critical)
    rng = np.random.default_rng([SEED, dim, code_bits, stages, wide])
    dtype = np.int16 if wide else np.int8
    limits = np.iinfo(dtype)
    entries = rng.integers(limits.min, limits.max + 1, (stages, 1 << code_bits, dim), dtype)
    entries[:, 0], entries[:, 1] = limits.min, limits.max
    shifts = tuple(rng.integers(0, 8, stages).tolist()) if code_bits != 4 else (7,) * stages
    return CrvqFormat(dim, code_bits, critical, shifts, Table.of(entries))


def extents(n: int, most: int, how: int) -> tuple[int, ...]:
    """Groups of n extended stages, the first with `most`: all equal, one less each, or halves."""
    numbers = [(most, most - k, most >> k)[how] for k in range(n)]
    return tuple(max(0, number) for number in numbers)


def crvq_cases() -> Iterator[Case]:
    """All group sizes, both types of codebooks, whole and partial bytes, at awkward widths."""
    rng = np.random.default_rng(SEED)
    number = 0
    for dim in CRVQ_DIMS:
        for code_bits in (1, 3, 4, 8):
            for wide in (False, True):
                for columns in (1, dim, 3 * dim + 1, 17 * dim, 529):
                    groups = -(-columns // dim)
                    most = (1, -(-groups // 2), groups)[number % 3]
                    stages = STAGES[number % 4] if number % 11 else 3
                    critical = extents(stages - 1, most, number // 5 % 3)
                    fmt = crvq_format(dim, code_bits, wide, critical)
                    tensor = random_tensor(fmt, ((1, 3, 18)[number % 3], columns), rng)
                    yield from tensor_cases(tensor, rng)
                    if number % 5 == 4:
                        yield gemm_case(tensor, TOKENS[number % 3], rng)
                    number += 1


def table_cases() -> Iterator[Case]:
    """Matrices of many rows: the threshold, blocks of rows, tiles of tables, all threads."""
    rng = np.random.default_rng(SEED + 1)
    basic = crvq_format(8, 8, False, ())
    for fmt, shape in [
        (basic, (TABLE_ROWS - 1, 24)),
        (basic, (TABLE_ROWS, 8 * 16 + 3)),
        (basic, (TABLE_ROWS + 5, 1)),
        (crvq_format(8, 8, True, ()), (TABLE_ROWS + 33, 8 * 35)),
        (crvq_format(8, 8, False, (5,) * 3), (TABLE_ROWS + 1, 8 * 23)),
        (crvq_format(8, 8, True, (3,) * 7), (TABLE_ROWS + 7, 8 * 3)),
        (crvq_format(8, 8, False, (6,) * 2), (TABLE_ROWS + 40, 8 * 6 - 1)),
        (crvq_format(8, 8, False, (9, 5, 2)), (TABLE_ROWS + 2, 8 * 19 + 5)),
        (crvq_format(8, 8, True, (20, 1, 1)), (TABLE_ROWS + 3, 8 * 20)),
        (crvq_format(8, 8, False, (0, 0)), (TABLE_ROWS + 4, 8 * 20)),
        (crvq_format(4, 5, True, (0, 0, 0)), (7, 101)),
        (crvq_format(8, 8, False, (21, 20, 6, 6, 3, 2, 1)), (TABLE_ROWS + 35, 8 * 21 - 3)),
        (crvq_format(8, 7, False, (2,)), (TABLE_ROWS, 16)),
        (crvq_format(4, 8, False, (2,)), (TABLE_ROWS, 16)),
    ]:
        yield from product_cases(random_tensor(fmt, shape, rng), rng)


def columns_cases() -> Iterator[Case]:
    """Permutations and critical columns of every codec, decoded and multiplied."""
    rng = np.random.default_rng(SEED + 2)
    rests: list[PlainFormat] = [
        RawFormat(),
        replace(LATTICE, group=4),
        crvq_format(8, 8, False, (2, 2, 1)),
        crvq_format(4, 5, True, (1,)),
    ]
    criticals: list[PlainFormat | None] = [
        None,
        RawFormat("f16"),
        PAPER,
        crvq_format(8, 8, True, (1,)),
    ]
    for number, rest in enumerate(rests):
        for critical in criticals:
            for columns in (39, 600):
                n_critical = (9, 1, 21)[number % 3] if critical is not None else 0
                for ordered in (False, True):
                    if critical is None and not ordered:
                        continue
                    order = Table.of(rng.permutation(columns).astype(np.uint16))
                    fmt = ColumnsFormat(rest, critical, n_critical, order if ordered else None)
                    tensor = random_tensor(fmt, ((2, 17)[number % 2], columns), rng)
                    yield from tensor_cases(tensor, rng)
                    yield gemm_case(tensor, TOKENS[number % 3], rng)
                    yield prepare_case(tensor, 2, rng)
    for critical in criticals:  # 1024 rows are added at a time
        order = Table.of(rng.permutation(27).astype(np.uint16))
        fmt = ColumnsFormat(rests[2], critical, 9 if critical else 0, order)
        yield from product_cases(random_tensor(fmt, (1024 + TABLE_ROWS, 27), rng), rng)


def product_cases(tensor: EncodedTensor, rng: np.random.Generator) -> Iterator[Case]:
    """Products with all rows, by one thread and several, and with some of them; several tokens."""
    rows, columns = tensor.shape
    x = activations((columns,), rng)
    y = reference.gemv(tensor, x)
    yield Case(GEMV, tensor, 0, rows, x, y, THREADS)
    first = int(rng.integers(0, rows))
    yield Case(GEMV, tensor, first, rows - first, x, y[first:])
    yield gemm_case(tensor, (2, 17)[rows % 2], rng)
