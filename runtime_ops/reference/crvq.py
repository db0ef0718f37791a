"""Codebooks in numpy: codes, weights, and products by lookup tables."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats import CrvqFormat


def row_scales(parts: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
    """The scale of every row, float32 (rows,): the stored one times the tensor's factor."""
    return parts["scales"].astype(np.float32) * parts["params"].astype(np.float32)


def crvq_codes(
    fmt: CrvqFormat, parts: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]
) -> list[NDArray[np.uint8]]:
    """Codes of every stage, uint8 (rows, groups that the stage covers).

    Code g of a row lies in its bits g * code_bits and up, low bits first; rows start
    at whole bytes.
    """
    rows, columns = shape
    sizes = [rows * fmt.plane_row_bytes(stage, columns) for stage in range(fmt.stages)]
    stored = [parts[name] for name in ("codes", "extended") if name in parts]
    planes = np.split(np.concatenate(stored), np.cumsum(sizes)[:-1])
    codes = []
    for stage, plane in enumerate(planes):
        groups = fmt.stage_groups(stage, columns)
        stream = np.unpackbits(plane.view(np.uint8).reshape(rows, -1), axis=1, bitorder="little")
        bits = stream[:, : groups * fmt.code_bits].reshape(rows, groups, fmt.code_bits)
        weights = (1 << np.arange(fmt.code_bits)).astype(np.uint8)
        codes.append((bits * weights).sum(axis=2, dtype=np.uint8))
    return codes


def decode_f32_cb(
    fmt: CrvqFormat, codes: list[NDArray[np.uint8]], scales: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Weights of codes as `crvq_codes` has them, float32 (rows, groups * dim).

    `scales` float32 (rows,). Sums are integers of at most 2**25; beyond 2**24, which only int16
    codebooks reach, their conversion to float32 rounds, to nearest, ties to even.
    """
    weights: NDArray[np.float32] = scales[:, None] * crvq_sums(fmt, codes).astype(np.float32)
    return weights


def crvq_sums(fmt: CrvqFormat, codes: list[NDArray[np.uint8]]) -> NDArray[np.int64]:
    """Sums of codewords, integers (rows, groups * dim): weights without their scales."""
    values = fmt.values
    sums = values[0][codes[0]]
    for stage in range(1, fmt.stages):
        sums[:, : codes[stage].shape[1]] += values[stage][codes[stage]]
    whole: NDArray[np.int64] = sums.reshape(len(sums), -1)
    return whole


def table_f32_cb(codewords: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Products of all codewords with groups of x, float32 (groups, entries).

    `codewords` float32 (entries, dim), `x` float32 (groups, dim): `x_0 C_0 + x_1 C_1 + ..`, added
    in that order.
    """
    tables: NDArray[np.float32] = x[:, :1] * codewords[:, 0]
    for d in range(1, codewords.shape[1]):
        tables = tables + x[:, d : d + 1] * codewords[:, d]
    return tables


def gemv_f32_crvq_table(
    fmt: CrvqFormat, parts: Mapping[str, NDArray[np.generic]], x: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The product of a crvq matrix with x by lookup tables: float32 (d_out,).

    `x` float32 (d_in,), finite; it counts as 0 beyond the row. T_k is `table_f32_cb` of codebook k
    with its shift. Group by group, and in a group stage by stage over those that cover it, the
    entry `T_k[g][code]` is added to the row's sum, which starts at 0; at the end it is multiplied
    with the row's scale.

    Against the exact product `|y - W x| <= gamma(n) * M + (8 N s + 1) * 2**-149` with s the row's
    scale, C_k the codewords, `M = s * sum |C_k| |x|` over all groups and their stages,
    `N = groups + sum(critical_groups)`, the codes of a row, and `n = 8 + N`: a product is rounded
    once and by the seven additions in its group, then N - 1 times in the row's sum (the first adds
    to 0), then by the scale. `W = s * sum_k C_k` is exact here; decoded weights are rounded once,
    or twice beyond 2**24. Compare `gemv_f32`, whose n is of the same size.
    """
    rows = len(parts["scales"])
    padded = np.zeros(-(-len(x) // fmt.dim) * fmt.dim, np.float32)
    padded[: len(x)] = x
    groups = padded.reshape(-1, fmt.dim)
    codes = crvq_codes(fmt, parts, (rows, len(x)))
    tables = [table_f32_cb(values.astype(np.float32), groups) for values in fmt.values]
    sums = np.zeros(rows, np.float32)
    for g in range(len(groups)):
        for stage in range(fmt.group_stages(g)):
            sums = sums + tables[stage][g][codes[stage][:, g]]
    y: NDArray[np.float32] = sums * row_scales(parts)
    return y
