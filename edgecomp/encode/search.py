"""The C encoder from Python: nearest points of a winding, and packing of indices.

The only module that calls the encoder's `lib`. Calls release the GIL, so that threads run in
parallel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode._encoder import ffi, lib
from edgecomp.encode.lattice import reduced_lattice
from runtime_ops.formats import WindingFormat
from runtime_ops.reference import GROUP_FACTORS

CData = Any  # cffi's objects have no static type

INVERSE_STEPS = 4096  # pieces of the companding table's inverse, a start for the search only


@dataclass(frozen=True, slots=True)
class Errors:
    """Summed errors of encoded weights, and a bound on the distance of any vector of `dim`."""

    squared: float = 0.0
    absolute: float = 0.0
    bound: float = 0.0

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.squared + other.squared,
            self.absolute + other.absolute,
            max(self.bound, other.bound),
        )

    def bound_f32(self) -> float:
        """The bound as a float32 that is not below it."""
        return float(np.nextafter(np.float32(self.bound), np.float32(np.inf)))


class PointSearch:
    """Encodes weights as indices of one winding format; safe to use from several threads."""

    def __init__(self, fmt: WindingFormat) -> None:
        lattice = reduced_lattice(fmt.generator)
        self.format = fmt
        self._keep: list[CData] = []
        self._c = c = ffi.new("ec_search *")
        for field in ("dim", "points", "levels", "offset"):
            setattr(c, field, getattr(fmt, field))
        c.centre = int(fmt.centre)
        c.generator[0 : fmt.dim] = fmt.generator
        c.shift[0 : fmt.dim] = fmt.shift
        for i in range(fmt.dim):
            c.basis_k[i] = int(lattice.basis[i, 0])
            for d in range(fmt.dim):
                c.basis[i * lib.EC_MAX_DIM + d] = int(lattice.basis[i, 1 + d])
                c.projection[i * lib.EC_MAX_DIM + d] = lattice.projection[i, d]
        c.coordinate_per_value = 2.0**31 / fmt.levels
        c.radius = lattice.radius
        c.neighbours = self._array("int64_t[]", lattice.neighbours)
        c.n_relevant = lattice.n_relevant
        c.n_neighbours = len(lattice.neighbours)
        if fmt.table is not None:
            self._set_table(np.array(fmt.table, np.int16))

    def _set_table(self, table: NDArray[np.int16]) -> None:
        first, last = float(table[0]), float(table[-1])
        step = max(last - first, 1.0) / INVERSE_STEPS
        values = first + step * np.arange(INVERSE_STEPS + 2)
        cells = np.interp(values, table.astype(np.float64), np.arange(len(table)) + 0.5)
        self._c.table = self._array("int16_t[]", table)
        self._c.inverse = self._array("double[]", cells * (2.0**32 / len(table)))
        self._c.n_inverse = INVERSE_STEPS
        self._c.first_value, self._c.steps_per_value = first, 1 / step

    def _array(self, c_type: str, array: NDArray[np.generic]) -> CData:
        data = ffi.from_buffer(c_type, np.ascontiguousarray(array))
        self._keep.append(data)
        return data

    def encode_points(
        self,
        weights: NDArray[np.float32],
        params: NDArray[np.float32],
        classes: NDArray[np.uint8] | None = None,
    ) -> tuple[NDArray[np.uint32], Errors]:
        """Indices, uint32 (n,), of flat float32 weights padded to n vectors of `dim`, and errors.

        `params` float32 (dim + classes,): centre and class scales; `classes` uint8 (n,) or None.
        """
        dim = self.format.dim
        n = -(-len(weights) // dim)
        padded = np.zeros(n * dim, np.float32)
        padded[: len(weights)] = weights
        indices = np.empty(n, np.uint32)
        stats = ffi.new("ec_encode_stats *")
        lib.ec_encode_points(
            self._c,
            ffi.from_buffer("float[]", padded),
            n,
            n * dim - len(weights),
            ffi.from_buffer("float[]", params),
            ffi.from_buffer("float[]", params[dim:]),
            ffi.NULL if classes is None else ffi.from_buffer("uint8_t[]", classes),
            ffi.from_buffer("uint32_t[]", indices),
            stats,
        )
        return indices, _errors(stats)

    def encode_groups(
        self, weights: NDArray[np.float32], scale: float, unit_rms: float, reach: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint8], Errors]:
        """Indices, uint32 (n,), group bytes, uint8 (groups,), and errors of flat float32 weights.

        `scale` is the largest group scale (byte 255), `unit_rms` the root mean square, in integer
        values, at which the search for a group's scale starts, `reach` how many bytes it may look
        to each side.
        """
        fmt = self.format
        n = -(-len(weights) // fmt.dim)
        padded = np.zeros(n * fmt.dim, np.float32)
        padded[: len(weights)] = weights
        indices = np.empty(n, np.uint32)
        scales = np.empty(-(-len(weights) // fmt.group), np.uint8)
        stats = ffi.new("ec_encode_stats *")
        scale_range = ffi.new("ec_scales *")
        scale_range.base, scale_range.unit_rms, scale_range.reach = scale, unit_rms, reach
        factors = ffi.from_buffer("float[]", GROUP_FACTORS)
        scale_range.factors = factors
        lib.ec_encode_groups(
            self._c,
            ffi.from_buffer("float[]", padded),
            len(weights),
            fmt.group,
            scale_range,
            ffi.from_buffer("uint32_t[]", indices),
            ffi.from_buffer("uint8_t[]", scales),
            stats,
        )
        return indices, scales, _errors(stats)

    def pack(self, indices: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """The indices as the part 'codes' holds them, uint8; whole bytes or words."""
        fmt, n = self.format, len(indices)
        packed = np.zeros(fmt.code_bytes(n * fmt.dim), np.uint8)
        data = ffi.from_buffer("uint32_t[]", np.ascontiguousarray(indices))
        if fmt.packing == "bits":
            lib.ec_pack_bits(data, n, fmt.index_bits, ffi.from_buffer("uint8_t[]", packed))
        else:
            words = ffi.from_buffer("uint64_t[]", packed)
            lib.ec_pack_radix(data, n, fmt.radix, fmt.digits, words)
        return packed


def _errors(stats: CData) -> Errors:
    return Errors(stats.squared_error, stats.absolute_error, stats.error_bound)
