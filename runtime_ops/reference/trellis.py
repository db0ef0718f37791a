"""Trellis codes in numpy: states, weights, and the rotation of columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats import TrellisFormat
from runtime_ops.formats.trellis import BAND_ROWS, STRIP_COLUMNS, TILE_WEIGHTS

Real = TypeVar("Real", np.float32, np.float64)


def trellis_states(
    fmt: TrellisFormat, parts: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]
) -> NDArray[np.uint32]:
    """States of every step, uint32 (bands, steps of a band): step t's begins at bit t * step_bits.

    Byte i of a band has its bits 8 i to 8 i + 7, low bits first.
    """
    bands, tiles = fmt.tiles(shape)
    stream = np.unpackbits(
        parts["codes"].view(np.uint8).reshape(bands, -1), axis=1, bitorder="little"
    )
    first = np.arange(tiles * fmt.steps_per_tile) * fmt.step_bits
    states = np.zeros((bands, len(first)), np.uint32)
    for j in range(fmt.state_bits):
        states |= stream[:, first + j].astype(np.uint32) << np.uint32(j)
    return states


def trellis_places(
    fmt: TrellisFormat, states: NDArray[np.uint32], shape: tuple[int, int]
) -> NDArray[np.uint32]:
    """The place in the table of every weight, uint32 (rows, columns).

    `states` as `trellis_states` has them, uint32 (bands, steps of a band).
    """
    mask = np.uint32((1 << fmt.state_bits) - 1)
    if fmt.fold:
        states = states ^ states >> np.uint32(fmt.fold)
    angles = states[:, :, None] * np.array(fmt.multipliers, np.uint32) & mask
    places = angles >> np.uint32(fmt.state_bits - fmt.table_bits)
    bands, tiles = fmt.tiles(shape)
    elements = np.empty((bands, tiles, TILE_WEIGHTS), np.uint32)
    elements[:, :, fmt.order] = places.reshape(elements.shape)
    grid = elements.reshape(bands, tiles, BAND_ROWS, STRIP_COLUMNS).transpose(0, 2, 1, 3)
    return grid.reshape(bands * BAND_ROWS, tiles * STRIP_COLUMNS)[: shape[0], : shape[1]]


def decode_f32_tr(
    fmt: TrellisFormat,
    states: NDArray[np.uint32],
    scales: NDArray[np.float32],
    shape: tuple[int, int],
) -> NDArray[np.float32]:
    """Weights of states as `trellis_states` has them, float32 (rows, columns), still rotated.

    `scales` float32 (rows,).
    """
    values = fmt.table.array.astype(np.float32)[trellis_places(fmt, states, shape)]
    weights: NDArray[np.float32] = scales[:, None] * values
    return weights


def signs(fmt: TrellisFormat, columns: int) -> NDArray[np.float32]:
    """The sign of every column, +1 or -1, float32 (columns,): the top bit of a hash.

    The hash is MurmurHash3's 32-bit finaliser (public domain) of seed + (column + 1) * 0x9E3779B9.
    """
    h = np.uint32(fmt.seed) + np.arange(1, columns + 1, dtype=np.uint32) * np.uint32(0x9E3779B9)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ h >> np.uint32(shift)) * np.uint32(factor)
    h ^= h >> np.uint32(16)
    return 1 - 2 * (h >> np.uint32(31)).astype(np.float32)


def hadamard(x: NDArray[Real], block: int) -> NDArray[Real]:
    """Products of Hadamard matrices, entries +-1, with blocks of the last axis, of x's dtype.

    `x` (n, columns), in products float32; `block` a power of two that divides the columns. In
    rounds with h = 1, 2, 4 .. block / 2, the numbers a and b that are h apart become a + b and
    a - b.
    """
    shape = x.shape
    h = 1
    while h < block:
        pairs = x.reshape(-1, 2, h)
        x = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1)
        h *= 2
    return x.reshape(shape)


def rotate(fmt: TrellisFormat, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inputs as a rotated matrix takes them, R x, float32 (n_tokens, columns).

    Signs, then Hadamard: sums of `rotation` inputs each, rounded log2(rotation) times.
    """
    if not fmt.rotation:
        return x
    return hadamard(x * signs(fmt, x.shape[1]), fmt.rotation)


def unrotate(fmt: TrellisFormat, stored: NDArray[np.float32]) -> NDArray[np.float32]:
    """The matrix W = V R of a stored V, float32 (rows, columns): Hadamard, then signs."""
    if not fmt.rotation:
        return stored
    return hadamard(stored, fmt.rotation) * signs(fmt, stored.shape[1])
