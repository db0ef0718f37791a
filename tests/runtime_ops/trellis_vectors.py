"""Test vectors of trellises, rotated and not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from runtime_ops.formats import ColumnsFormat, PlainFormat, RawFormat, Table, TrellisFormat
from runtime_ops.formats.trellis import MAX_STEP_BITS, STATE_BITS
from tests.runtime_ops.crvq_vectors import crvq_format, product_cases
from tests.runtime_ops.vectors import (
    LATTICE,
    SEED,
    Case,
    gemm_case,
    prepare_case,
    random_tensor,
    tensor_cases,
)

TOKENS = (1, 3, 17)
# Around tiles of 16 rows and 4 columns, and around what is decoded at a time.
ROWS = (1, 17, 16, 5, 33, 15, 48)
COLUMNS = (1, 4, 5, 31, 64, 66, 127, 130, 259)


def trellis_format(
    state_bits: int, step_bits: int, dim: int, table_bits: int, wide: bool
) -> TrellisFormat:
    """A format with random odd multipliers, a random table that holds its type's extremes, a fold.

    One of three has none.
    """
    rng = np.random.default_rng([SEED, state_bits, step_bits, dim, table_bits, wide])
    dtype = np.int16 if wide else np.int8
    limits = np.iinfo(dtype)
    table = rng.integers(limits.min, limits.max + 1, 1 << table_bits, dtype)
    table[:2] = limits.min, limits.max
    multipliers = tuple((rng.integers(0, 1 << state_bits, dim) | 1).tolist())
    fold = int(rng.integers(1, state_bits)) if rng.integers(3) else 0
    return TrellisFormat(state_bits, step_bits, multipliers, Table.of(table), fold)


def rotated(rotation: int, state_bits: int = 8, step_bits: int = 2) -> TrellisFormat:
    """A format with that rotation."""
    plain = trellis_format(state_bits, step_bits, 1, 8, False)
    seed = 0xFFFFFFFF if rotation == 2 else 40503 * rotation
    return replace(plain, rotation=rotation, seed=seed)


def trellis_cases() -> Iterator[Case]:
    """All states, steps and pairs, with tables of every size and type in turn."""
    rng = np.random.default_rng(SEED + 3)
    number = 0
    for state_bits in STATE_BITS:
        for step_bits in range(1, min(MAX_STEP_BITS, state_bits - 1) + 1):
            for dim in (1, 2):
                for table_bits in sorted({4, 6, 8, min(state_bits, 4 + number % 9, 12)}):
                    fmt = trellis_format(state_bits, step_bits, dim, table_bits, number % 3 == 0)
                    shape = ROWS[number % 7], COLUMNS[number % 9]
                    tensor = random_tensor(fmt, shape, rng)
                    yield from tensor_cases(tensor, rng)
                    if number % 5 == 4:
                        yield from product_cases(tensor, rng)
                    number += 1
    for fmt in (trellis_format(8, 2, 1, 6, False), trellis_format(12, 3, 2, 8, True)):
        for tokens in (1, 2, 7, 10, 16, 33):  # blocks of rows that start within a band
            yield gemm_case(random_tensor(fmt, (161, 523), rng), tokens, rng)
        yield from product_cases(random_tensor(fmt, (130, 1030), rng), rng)


def rotation_cases() -> Iterator[Case]:
    """All rotations, of one block and of several."""
    rng = np.random.default_rng(SEED + 4)
    for bits in range(1, 13):
        for blocks in (1, 2 if bits > 9 else 5):
            fmt = rotated(1 << bits, STATE_BITS[bits % 4], 1 + bits % 4)
            tensor = random_tensor(fmt, ((2, 19)[blocks > 1], blocks << bits), rng)
            yield from tensor_cases(tensor, rng)
            yield from product_cases(tensor, rng)
            yield prepare_case(tensor, 3, rng)


def columns_cases() -> Iterator[Case]:
    """Permutations and critical columns, each matrix with a rotation of its own."""
    rng = np.random.default_rng(SEED + 5)
    four = rotated(4)
    pairs: list[tuple[PlainFormat, PlainFormat | None, int]] = [
        (four, None, 0),
        (four, rotated(32, 16, 4), 32),
        (rotated(128), RawFormat("f16"), 12),
        (trellis_format(10, 3, 2, 6, True), rotated(2), 6),
        (LATTICE, rotated(64), 192),
        (crvq_format(8, 8, False, (2, 2)), four, 4),
        (four, crvq_format(4, 5, True, (1,)), 20),
    ]
    for number, (rest, critical, n_critical) in enumerate(pairs):
        for ordered in (False, True):
            if critical is None and not ordered:
                continue
            columns = n_critical + 640
            order = Table.of(rng.permutation(columns).astype(np.uint16)) if ordered else None
            fmt = ColumnsFormat(rest, critical, n_critical, order)
            tensor = random_tensor(fmt, ((2, 37)[number % 2], columns), rng)
            yield from tensor_cases(tensor, rng)
            yield gemm_case(tensor, TOKENS[number % 3], rng)
            yield prepare_case(tensor, 2, rng)
