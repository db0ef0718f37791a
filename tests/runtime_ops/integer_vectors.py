"""Test vectors of products with int8 activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from runtime_ops import reference
from runtime_ops.formats import (
    ColumnsFormat,
    CrvqFormat,
    EncodedTensor,
    Format,
    Table,
    UniformFormat,
    WindingFormat,
)
from runtime_ops.formats.trellis import MAX_STEP_BITS, STATE_BITS
from tests.runtime_ops import vectors
from tests.runtime_ops.crvq_vectors import crvq_format
from tests.runtime_ops.trellis_vectors import rotated, trellis_format

# Around bands of 16 rows, and around tiles of 4 columns, blocks of 32 and panels of 512.
ROWS = (1, 16, 15, 17, 33)
COLUMNS = (1, 31, 32, 33, 4, 97, 127, 160, 517)
TOKENS = (1, 1, 2, 1, 3, 9, 17)


def integer_cases() -> Iterator[vectors.Case]:
    """Every codec whose weights are integers, at shapes around the kernels' steps."""
    rng = np.random.default_rng(vectors.SEED + 6)
    for number, fmt in enumerate(formats()):
        for shape_number in range(2):
            step = 2 * number + shape_number
            shape = ROWS[step % 5], fitting(fmt, COLUMNS[step % 9])
            yield matmul_case(fmt, shape, TOKENS[step % 7], rng)
    for bits in (8, 4):
        yield matmul_case(UniformFormat(bits, 32), (35, 1100), 5, rng)
        yield matmul_case(UniformFormat(bits, 64), (35, 1100), 1, rng)
    for critical in ((), (3,), (9, 9, 4), (6, 5, 5, 4, 2, 1, 1)):  # tables, from 256 rows on
        fmt = crvq_format(8, 8, False, critical)
        yield matmul_case(fmt, (401, 8 * (20 + len(critical)) + 3), 1, rng)
        mixed = ColumnsFormat(fmt, trellis_format(8, 2, 1, 6, False), 33, None)
        yield matmul_case(mixed, (401, 33 + 203), 1, rng)
    for fmt in (trellis_format(8, 2, 1, 6, False), trellis_format(12, 2, 1, 8, False)):
        for tokens in (1, 5, 130):
            yield matmul_case(fmt, (35, 1100), tokens, rng)


def formats() -> Iterator[Format]:
    """Trellises of all states, steps, pairs and tables; codebooks; lattices; reordered columns."""
    for state_bits in STATE_BITS:
        for step_bits in range(1, min(MAX_STEP_BITS, state_bits - 1) + 1):
            for dim in (1, 2):
                for table_bits in sorted({4, 5, 6, 7, 8, min(state_bits, 10)}):
                    yield trellis_format(state_bits, step_bits, dim, table_bits, False)
    for bits, group in ((8, 32), (4, 32), (2, 64), (8, 160)):
        yield UniformFormat(bits, group)
    for table_bits in (4, 12):
        yield trellis_format(12, 5, 1, table_bits, True)
    yield from (crvq_format(8, 8, False, (2, 2)), crvq_format(4, 5, False, (1,)))
    lattice = vectors.LATTICE
    table = tuple(range(-32768, 32768, 256))
    first = lattice.generator[:1], lattice.shift[:1]
    yield replace(lattice, levels=256, table=table)
    yield replace(lattice, levels=32767, group=64)
    yield replace(lattice, levels=255, group=0, points=7131, packing="radix")
    yield replace(
        lattice, dim=1, generator=first[0], shift=first[1], levels=16, points=16, group=128
    )
    order = Table.of(np.random.default_rng(1).permutation(160 + 64).astype(np.uint16))
    yield ColumnsFormat(rotated(32), crvq_format(4, 5, False, (1,)), 64, order)
    yield ColumnsFormat(replace(lattice, levels=9, group=32), rotated(64, 12, 4), 64, order)


def fitting(fmt: Format, columns: int) -> int:
    """Columns that a format can have: as wished, if it can."""
    if isinstance(fmt, ColumnsFormat):
        return 160 + 64
    if isinstance(fmt, WindingFormat) and fmt.group:
        return -(-columns // fmt.group) * fmt.group
    if isinstance(fmt, CrvqFormat):
        return max(columns, fmt.dim * max(fmt.critical_groups, default=0))
    return columns


def matmul_case(
    fmt: Format, shape: tuple[int, int], n_tokens: int, rng: np.random.Generator
) -> vectors.Case:
    """The last rows of a random tensor with several tokens."""
    tensor = with_integers(vectors.random_tensor(fmt, shape, rng))
    x = activations((n_tokens, shape[1]), rng)
    row = shape[0] // 3
    expected = np.ascontiguousarray(reference.matmul_i8(tensor, x)[:, row:])
    return vectors.Case(vectors.MATMUL_I8, tensor, row, shape[0] - row, x, expected)


def with_integers(tensor: EncodedTensor) -> EncodedTensor:
    """The tensor without centres, which random windings have."""
    parts = dict(tensor.parts)
    fmt = tensor.format.rest if isinstance(tensor.format, ColumnsFormat) else tensor.format
    if isinstance(fmt, WindingFormat):
        params = parts["params"].copy()
        params[: fmt.dim] = 0
        parts["params"] = params
    return replace(tensor, parts=parts)


def activations(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Random inputs with subnormal ones; blocks of zeros, of tiny and of huge ones, and a NaN."""
    x = vectors.activations(shape, rng)
    factors = np.array([1, 1, 1, 1, 0, 1e-25, 1e-15, 1e20], np.float32)
    blocks = rng.choice(factors, (shape[0], -(-shape[1] // reference.BLOCK)))
    x *= np.repeat(blocks, reference.BLOCK, axis=1)[:, : shape[1]]
    if shape[0] > 2:
        x[1, rng.integers(shape[1])] = (np.nan, np.inf)[shape[0] % 2]
    return x
