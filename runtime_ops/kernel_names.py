"""Which kernel multiplies a matrix of a format: the names that costs go by.

Formats with one name run the same inner loop on every instruction set; what else they hold (tables,
multipliers, seeds) changes no time. csrc/kernels/trellis_i8_cases.h chooses among the loops.
"""

from __future__ import annotations

from runtime_ops.formats import CrvqFormat, RawFormat, TrellisFormat, UniformFormat, WindingFormat
from runtime_ops.formats.columns import PlainFormat

__all__ = ["kernel_of", "kernel_weights"]

TABLES = (64, 256)  # entries that kernels look up in registers; larger ones are gathered


def kernel_of(fmt: PlainFormat, rows: int) -> str:
    """The name of the kernel for a matrix of `rows` rows."""
    match fmt:
        case RawFormat():
            return f"raw-{fmt.dtype}"
        case UniformFormat():
            return f"uniform-{fmt.bits}"
        case TrellisFormat():
            return trellis_kernel(fmt)
        case CrvqFormat():
            return "crvq-table" if fmt.uses_table(rows) else f"crvq-d{fmt.dim}"
        case WindingFormat():
            return winding_kernel(fmt)


def trellis_kernel(fmt: TrellisFormat) -> str:
    """By bits and weights of a step, states, table and fold; loops for 12 state bits read 10 too,
    and 16 where a step has two weights."""
    states = {8: 8, 10: 12, 12: 12}.get(fmt.state_bits, 12 if fmt.dim == 2 else 16)
    entries = next((size for size in TABLES if fmt.table.array.size <= size), 4096)
    name = f"trellis-k{fmt.step_bits}-d{fmt.dim}-l{states}-t{entries}"
    return name + ("-fold" if fmt.fold else "") + ("-wide" if fmt.table.dtype == "<i2" else "")


def winding_kernel(fmt: WindingFormat) -> str:
    """By weights of an index, map and packing; with centres or classes sums are float32."""
    name = f"winding-d{fmt.dim}-{'table' if fmt.table is not None else 'linear'}-{fmt.packing}"
    return name + ("-classes" if fmt.centre or fmt.classes > 1 else "")


def kernel_weights(fmt: PlainFormat, rows: int, columns: int) -> float:
    """What the kernel's cost is counted in: weights; for codebooks, weights times mean codes."""
    weights = float(rows * columns)
    if isinstance(fmt, CrvqFormat):
        codes = sum(fmt.stage_groups(stage, columns) for stage in range(fmt.stages))
        return weights * codes / fmt.groups(columns)
    return weights
