"""A tensor's weights in numpy, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from runtime_ops.formats import (
    ColumnsFormat,
    CrvqFormat,
    EncodedTensor,
    PlainFormat,
    RawFormat,
    TrellisFormat,
    UniformFormat,
    matrices,
    matrix_sides,
)
from runtime_ops.reference.crvq import crvq_codes, decode_f32_cb, row_scales
from runtime_ops.reference.trellis import decode_f32_tr, trellis_states, unrotate
from runtime_ops.reference.uniform import decode_f32_un, uniform_scales, uniform_values
from runtime_ops.reference.winding import GROUP_FACTORS, decode_f32_wd, unpack_indices


def decode(tensor: EncodedTensor) -> NDArray[np.float32]:
    """The tensor's weights, float32 of its shape."""
    fmt = tensor.format
    sides = matrix_sides(tensor.shape)
    shapes = fmt.part_shapes(tensor.shape) if isinstance(fmt, ColumnsFormat) else (sides, sides)
    stored = matrices(tensor)
    decoded = [
        decode_matrix(*matrix, shape)
        for matrix, shape in zip(stored, shapes[-len(stored) :], strict=True)
    ]
    weights = np.concatenate(decoded, axis=1)
    if isinstance(fmt, ColumnsFormat) and fmt.order is not None:
        natural = np.empty_like(weights)
        natural[:, fmt.order] = weights
        weights = natural
    return weights.reshape(tensor.shape)


def decode_matrix(
    fmt: PlainFormat, parts: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """A matrix of one format, float32 of its shape."""
    if isinstance(fmt, TrellisFormat):
        return unrotate(fmt, stored_matrix(fmt, parts, shape))
    return stored_matrix(fmt, parts, shape)


def stored_matrix(
    fmt: PlainFormat, parts: Mapping[str, NDArray[np.generic]], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """A matrix as one format stores it, rotated if it is, float32 of its shape."""
    n_weights = shape[0] * shape[1]
    if isinstance(fmt, RawFormat):
        return parts["raw"].astype(np.float32).reshape(shape)
    if isinstance(fmt, CrvqFormat):
        weights = decode_f32_cb(fmt, crvq_codes(fmt, parts, shape), row_scales(parts))
        return weights[:, : shape[1]]
    if isinstance(fmt, TrellisFormat):
        return decode_f32_tr(fmt, trellis_states(fmt, parts, shape), row_scales(parts), shape)
    if isinstance(fmt, UniformFormat):
        values, scales = uniform_values(fmt, parts, shape), uniform_scales(fmt, parts, shape)
        return decode_f32_un(fmt, values, scales, parts["params"].astype(np.float32)[0])
    factors = np.ones(1, np.float32)
    if fmt.group:
        factors = GROUP_FACTORS[parts["scales"]]
        factors = np.repeat(factors, fmt.group // fmt.dim)[: fmt.n_indices(n_weights)]
    indices = unpack_indices(fmt, parts["codes"], fmt.n_indices(n_weights))
    weights = decode_f32_wd(fmt, indices, parts["params"].astype(np.float32), factors)
    return weights.reshape(-1)[:n_weights].reshape(shape)
