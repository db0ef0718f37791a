"""Test vectors of group integers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from runtime_ops.formats import ColumnsFormat, PlainFormat, Table, UniformFormat
from runtime_ops.formats.uniform import UNIFORM_BITS
from tests.runtime_ops.crvq_vectors import product_cases
from tests.runtime_ops.trellis_vectors import trellis_format
from tests.runtime_ops.vectors import SEED, Case, gemm_case, random_tensor, tensor_cases

# Around bands of 16 rows, tiles of 4 columns, blocks of 32 and groups.
ROWS = (1, 15, 16, 17, 33)
COLUMNS = (1, 3, 4, 5, 31, 32, 33, 63, 65, 97, 129, 515)
GROUPS = (32, 64, 96, 128, 1 << 16)


def uniform_cases() -> Iterator[Case]:
    """All widths and groups in turn, decoded and multiplied; beside another format."""
    rng = np.random.default_rng(SEED + 7)
    number = 0
    for bits in UNIFORM_BITS:
        for columns in COLUMNS:
            for group in (32, GROUPS[number % 5]):
                tensor = random_tensor(UniformFormat(bits, group), (ROWS[number % 5], columns), rng)
                yield from tensor_cases(tensor, rng)
                if number % 3 == 0:
                    yield from product_cases(tensor, rng)
                number += 1
        for tokens in (1, 2, 17):  # blocks of rows that start within a band
            yield gemm_case(random_tensor(UniformFormat(bits, 64), (83, 523), rng), tokens, rng)
    order = Table.of(rng.permutation(101).astype(np.uint16))
    narrow, wide, other = (
        UniformFormat(2, 32),
        UniformFormat(8, 96),
        trellis_format(8, 2, 1, 6, False),
    )
    pairs: list[tuple[PlainFormat, PlainFormat]] = [(narrow, wide), (narrow, other), (other, wide)]
    for rest, critical in pairs:
        tensor = random_tensor(ColumnsFormat(rest, critical, 5, order), (19, 101), rng)
        yield from tensor_cases(tensor, rng)
        yield gemm_case(tensor, 3, rng)
