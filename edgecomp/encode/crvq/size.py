"""The bits of a matrix as the paper counts them (crvq.md 2.4), from its shape alone.

Codes, float16 row scales and 16-bit codebooks. Not counted there, but stored: the order of columns,
the scales' common factor, and what pads planes of codes and parts to whole bytes and alignment.
"""

from __future__ import annotations

import math

__all__ = ["critical_groups", "paper_bits"]

ENTRY_BITS = 16  # of a number in a codebook
SCALE_BITS = 16  # of a row's scale


def critical_groups(columns: int, dim: int, critical: float) -> int:
    """How many groups of `dim` columns a share `critical` of the columns is, rounded down."""
    return math.floor(columns * critical / dim)


def paper_bits(
    rows: int, columns: int, dim: int, codebook_bits: int, extended: int, critical: float
) -> int:
    """Bits of a matrix with its own codebooks: one, and `extended` ones for critical groups.

    A matrix too narrow for a critical group has the basic codebook alone. A last group that is not
    full counts as one.
    """
    n_critical = critical_groups(columns, dim, critical)
    stages = 1 + extended if n_critical else 1
    codes = rows * -(-columns // dim) * codebook_bits
    finer = (stages - 1) * rows * n_critical * codebook_bits
    codebooks = stages * (dim << codebook_bits) * ENTRY_BITS
    return codes + finer + codebooks + rows * SCALE_BITS
