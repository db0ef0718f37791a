"""An encoded tensor as the C runtime takes it: an ec_tensor that points into its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime_ops._native import ffi, lib
from runtime_ops.formats import (
    ColumnsFormat,
    CrvqFormat,
    EncodedTensor,
    PlainFormat,
    RawFormat,
    TrellisFormat,
    UniformFormat,
    WindingFormat,
    matrices,
)

CData = Any  # cffi's objects have no static type


class NativeTensor:
    """An ec_tensor `c`, not checked yet; valid while this object lives."""

    def __init__(self, tensor: EncodedTensor) -> None:
        self.c = ffi.new("ec_tensor *")
        self._keep: list[CData] = []
        self.c.n_dims = len(tensor.shape)
        self.c.shape[0 : len(tensor.shape)] = tensor.shape
        fmt = tensor.format
        if isinstance(fmt, ColumnsFormat):
            self.c.n_critical = fmt.n_critical
            if fmt.permutation is not None:
                self._point(self.c, "permutation", fmt.permutation.array)
        targets = [self.c.critical, self.c.rest]
        stored = matrices(tensor)
        for target, matrix in zip(targets[-len(stored) :], stored, strict=True):
            self._set_matrix(target, *matrix)

    def _set_matrix(
        self, target: CData, fmt: PlainFormat, parts: Mapping[str, NDArray[np.generic]]
    ) -> None:
        if isinstance(fmt, RawFormat):
            target.codec = lib.EC_CODEC_RAW_F16 if fmt.dtype == "f16" else lib.EC_CODEC_RAW_F32
            self._point(target, "codes", parts["raw"])
            return
        if isinstance(fmt, WindingFormat):
            target.codec = lib.EC_CODEC_WINDING
            self._set_winding(target.winding, fmt)
        elif isinstance(fmt, CrvqFormat):
            target.codec = lib.EC_CODEC_CRVQ
            self._set_crvq(target.crvq, fmt)
        elif isinstance(fmt, UniformFormat):
            target.codec = lib.EC_CODEC_UNIFORM
            target.uniform.bits, target.uniform.group = fmt.bits, fmt.group
        else:
            target.codec = lib.EC_CODEC_TRELLIS
            self._set_trellis(target.trellis, fmt)
        for name, part in parts.items():
            self._point(target, name, part)

    def _set_winding(self, winding: CData, fmt: WindingFormat) -> None:
        for field in ("dim", "points", "levels", "offset", "classes", "group"):
            setattr(winding, field, getattr(fmt, field))
        winding.generator[0 : fmt.dim] = fmt.generator
        winding.shift[0 : fmt.dim] = fmt.shift
        winding.centre = int(fmt.centre)
        winding.radix_packed = int(fmt.packing == "radix")
        if fmt.table is not None:
            winding.table = self._data(np.array(fmt.table, "<i2"))

    def _set_crvq(self, crvq: CData, fmt: CrvqFormat) -> None:
        for field in ("dim", "code_bits", "stages"):
            setattr(crvq, field, getattr(fmt, field))
        crvq.critical_groups[1 : fmt.stages] = fmt.critical_groups
        crvq.shifts[0 : fmt.stages] = fmt.shifts
        crvq.wide = int(fmt.codebooks.array.itemsize == 2)
        crvq.codebooks = self._data(fmt.codebooks.array)

    def _set_trellis(self, trellis: CData, fmt: TrellisFormat) -> None:
        for field in ("state_bits", "step_bits", "dim", "fold", "table_bits", "rotation", "seed"):
            setattr(trellis, field, getattr(fmt, field))
        trellis.multipliers[0 : fmt.dim] = fmt.multipliers
        trellis.wide = int(fmt.table.array.itemsize == 2)
        trellis.table = self._data(fmt.table.array)

    def _point(self, target: CData, name: str, part: NDArray[np.generic]) -> None:
        data = self._data(part)
        setattr(target, name, data)
        setattr(target, f"{name}_bytes", len(data))

    def _data(self, array: NDArray[np.generic]) -> CData:
        self._keep.append(ffi.from_buffer("uint8_t[]", np.ascontiguousarray(array).view(np.uint8)))
        return self._keep[-1]
