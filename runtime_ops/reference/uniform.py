"""Group integers in numpy: values of codes, their scales, and weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats import UniformFormat
from runtime_ops.formats.trellis import BAND_ROWS, STRIP_COLUMNS


def uniform_values(
    fmt: UniformFormat, parts: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]
) -> NDArray[np.int32]:
    """The integers of a matrix, int32 (rows, columns).

    With 8 bits byte e of a tile is element e in two's complement. With b = 4 or 2 bits byte i holds
    elements i, i + 8 b, i + 16 b .. from its low bits up, and a value is the code - 2**(b - 1).
    """
    bands, tiles = fmt.bands(shape), fmt.tiles(shape)
    stored = parts["codes"].view(np.uint8).reshape(bands, tiles, 1, fmt.tile_bytes)
    shifts = np.arange(0, 8, fmt.bits, dtype=np.uint8)[:, None]
    codes = (stored >> shifts & np.uint8((1 << fmt.bits) - 1)).astype(np.int32)
    values = stored.view(np.int8).astype(np.int32) if fmt.bits == 8 else codes - (1 << fmt.bits - 1)
    grid = values.reshape(bands, tiles, BAND_ROWS, STRIP_COLUMNS).transpose(0, 2, 1, 3)
    return grid.reshape(bands * BAND_ROWS, tiles * STRIP_COLUMNS)[: shape[0], : shape[1]]


def uniform_scales(
    fmt: UniformFormat, parts: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """The stored scale of every row's groups, without the factor, float32 (rows, groups)."""
    bands, groups = fmt.bands(shape), fmt.groups(shape)
    stored = parts["scales"].astype(np.float32).reshape(bands, groups, BAND_ROWS)
    return stored.transpose(0, 2, 1).reshape(bands * BAND_ROWS, groups)[: shape[0]]


def decode_f32_un(
    fmt: UniformFormat,
    values: NDArray[np.int32],
    scales: NDArray[np.float32],
    factor: np.float32,
) -> NDArray[np.float32]:
    """Weights, float32 (rows, columns): (scale * factor) * value, both products rounded.

    `values` and `scales` as `uniform_values` and `uniform_scales` have them.
    """
    wide = np.repeat(scales * factor, fmt.group, axis=1)[:, : values.shape[1]]
    weights: NDArray[np.float32] = wide * values.astype(np.float32)
    return weights
