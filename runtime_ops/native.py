"""The C runtime from Python: decode, decode rows, multiply, read a container.

The only module that calls `lib`. Arguments are checked here or by the C side's own checks; a status
other than EC_OK becomes a NativeError.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime_ops._native import ffi, lib
from runtime_ops.formats import EncodedTensor, RawFormat, WindingFormat

CData = Any  # cffi's objects have no static type


class NativeError(ValueError):
    """A status other than EC_OK from the C runtime; `status` is its number."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(f"{what}: {_text(lib.ec_status_text(status))}")
        self.status = status


def instruction_sets() -> tuple[str, ...]:
    """Instruction sets that kernels exist for and that this machine can run, slowest first."""
    bits = lib.ec_isa_available()
    return tuple(_text(lib.ec_isa_name(i)) for i in range(lib.EC_ISA_COUNT) if bits >> i & 1)


def decode(tensor: EncodedTensor, isa: str | None = None) -> NDArray[np.float32]:
    """The tensor's weights, float32 of its shape; by the fastest kernel or that of `isa`."""
    return decode_range(tensor, 0, tensor.n_weights, isa).reshape(tensor.shape)


def decode_range(
    tensor: EncodedTensor, first: int, count: int, isa: str | None = None
) -> NDArray[np.float32]:
    """Weights first .. first + count - 1 in C order, float32 (count,)."""
    _check_range(first, count, tensor.n_weights, "weights")
    native = _NativeTensor(tensor)
    return _decode(native.c, first, count, isa)


def decode_rows(
    tensor: EncodedTensor, first_row: int, n_rows: int, isa: str | None = None
) -> NDArray[np.float32]:
    """Rows of the tensor, float32 (n_rows, *shape[1:])."""
    rows = tensor.shape[0] if tensor.shape else 1
    _check_range(first_row, n_rows, rows, "rows")
    out = np.empty(n_rows * (tensor.n_weights // rows), np.float32)
    native = _NativeTensor(tensor)
    buffer = ffi.from_buffer("float[]", out)
    _check(lib.ec_decode_rows(native.c, first_row, n_rows, buffer, _isa(isa)), "decode_rows")
    return out.reshape(n_rows, *tensor.shape[1:])


def gemv(
    tensor: EncodedTensor, x: NDArray[np.float32], isa: str | None = None
) -> NDArray[np.float32]:
    """The product of the tensor, seen as (shape[0], all the rest), with x: float32 (shape[0],)."""
    rows = tensor.shape[0] if tensor.shape else 1
    columns = tensor.n_weights // rows
    if not isinstance(x, np.ndarray):
        raise TypeError(f"x is a {type(x).__name__}, expected an array float32({columns},)")
    if x.dtype != np.float32 or x.shape != (columns,):
        raise ValueError(f"x is {x.dtype}{x.shape}, expected float32({columns},)")
    x = np.ascontiguousarray(x)
    y = np.empty(rows, np.float32)
    native = _NativeTensor(tensor)
    buffers = ffi.from_buffer("float[]", x), ffi.from_buffer("float[]", y)
    _check(lib.ec_gemv(native.c, 0, rows, *buffers, _isa(isa)), "gemv")
    return y


class NativeContainer:
    """A container read by the C runtime from memory (bytes, or a mapped file).

    It is checked once, here, so the memory must not change while this object lives. NativeError
    when it is not a container.
    """

    def __init__(self, data: bytes | mmap.mmap | memoryview) -> None:
        self._data = ffi.from_buffer(data)
        self._container = ffi.new("ec_container *")
        status = lib.ec_container_open(self._data, len(self._data), self._container)
        _check(status, "container")
        self._index = {self._name(i): i for i in range(self._container.n_tensors)}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors, in file order."""
        return tuple(self._index)

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's sides, slowest first; KeyError when there is no such tensor."""
        tensor = self._tensor(name)
        return tuple(tensor.shape[0 : tensor.n_dims])

    def decode(self, name: str, isa: str | None = None) -> NDArray[np.float32]:
        """The tensor's weights, float32 of its shape; KeyError when there is no such tensor."""
        tensor = self._tensor(name)
        return _decode(tensor, 0, tensor.n_weights, isa).reshape(self.shape(name))

    def string(self, key: str) -> str:
        """Value of a string key such as 'edgecomp.settings'; KeyError when there is none."""
        value = ffi.new("ec_slice *")
        if lib.ec_container_string(self._container, key.encode(), value) != lib.EC_OK:
            raise KeyError(key)
        return bytes(ffi.buffer(value.data, value.size)).decode()

    def _name(self, i: int) -> str:
        name = ffi.new("ec_slice *")
        _check(lib.ec_container_name(self._container, i, name), f"name of tensor {i}")
        return bytes(ffi.buffer(name.data, name.size)).decode()

    def _tensor(self, name: str) -> CData:
        tensor = ffi.new("ec_tensor *")
        _check(lib.ec_container_tensor(self._container, self._index[name], tensor), name)
        return tensor


class _NativeTensor:
    """An ec_tensor `c` that points into an EncodedTensor's parts; valid while this object lives."""

    def __init__(self, tensor: EncodedTensor) -> None:
        self.c = ffi.new("ec_tensor *")
        self._keep: list[CData] = []
        self.c.n_dims = len(tensor.shape)
        self.c.shape[0 : len(tensor.shape)] = tensor.shape
        self._matrix = self.c.rest
        fmt = tensor.format
        if isinstance(fmt, RawFormat):
            self._matrix.codec = lib.EC_CODEC_RAW_F16 if fmt.dtype == "f16" else lib.EC_CODEC_RAW_F32
            self._set("codes", tensor.parts["raw"])
        else:
            self._matrix.codec = lib.EC_CODEC_WINDING
            self._set_winding(fmt)
            for name, part in tensor.parts.items():
                self._set(name, part)
        _check(lib.ec_tensor_check(self.c), f"tensor of shape {tensor.shape}")

    def _set(self, name: str, part: NDArray[np.generic]) -> None:
        data = ffi.from_buffer("uint8_t[]", np.ascontiguousarray(part).view(np.uint8))
        self._keep.append(data)
        setattr(self._matrix, name, data)
        setattr(self._matrix, f"{name}_bytes", len(data))

    def _set_winding(self, fmt: WindingFormat) -> None:
        winding = self._matrix.winding
        for field in ("dim", "points", "levels", "offset", "classes", "group"):
            setattr(winding, field, getattr(fmt, field))
        winding.generator[0 : fmt.dim] = fmt.generator
        winding.shift[0 : fmt.dim] = fmt.shift
        winding.centre = int(fmt.centre)
        winding.radix_packed = int(fmt.packing == "radix")
        if fmt.table is not None:
            table = np.array(fmt.table, "<i2").view(np.uint8)
            self._keep.append(ffi.from_buffer("uint8_t[]", table))
            winding.table = self._keep[-1]


def _decode(tensor: CData, first: int, count: int, isa: str | None) -> NDArray[np.float32]:
    out = np.empty(count, np.float32)
    status = lib.ec_decode(tensor, first, count, ffi.from_buffer("float[]", out), _isa(isa))
    _check(status, f"weights {first} to {first + count}")
    return out


def _isa(name: str | None) -> int:
    if name is None:
        return int(lib.EC_ISA_BEST)
    names = [_text(lib.ec_isa_name(i)) for i in range(lib.EC_ISA_COUNT)]
    if name not in names:
        raise ValueError(f"instruction set is {name!r}, expected one of {names}")
    return names.index(name)


def _check_range(first: int, count: int, size: int, what: str) -> None:
    """Before anything is allocated for the result; the C side checks again."""
    if first < 0 or count < 0 or first + count > size:
        raise ValueError(f"{what} {first} to {first + count}, expected a range of 0 to {size}")


def _check(status: int, what: str) -> None:
    if status != lib.EC_OK:
        raise NativeError(status, what)


def _text(c_string: CData) -> str:
    return bytes(ffi.string(c_string)).decode()
