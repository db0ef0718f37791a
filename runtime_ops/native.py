"""The C runtime from Python: decode, decode rows, multiply, read a container.

The only module that calls `lib`; native_tensor.py fills its structs. Arguments are checked here or
by the C side's own checks; a status other than EC_OK becomes a NativeError.
"""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from numpy.typing import NDArray

from runtime_ops._native import ffi, lib
from runtime_ops.formats import EncodedTensor, matrix_sides
from runtime_ops.formats.trellis import BAND_ROWS
from runtime_ops.native_tensor import CData, NativeTensor

ALIGNMENT = 64  # bytes, of quantised activations


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
    native = _checked(tensor)
    return _decode(native.c, first, count, isa)


def decode_rows(
    tensor: EncodedTensor, first_row: int, n_rows: int, isa: str | None = None
) -> NDArray[np.float32]:
    """Rows of the tensor, float32 (n_rows, *shape[1:])."""
    rows = tensor.shape[0] if tensor.shape else 1
    _check_range(first_row, n_rows, rows, "rows")
    out = np.empty(n_rows * (tensor.n_weights // rows), np.float32)
    native = _checked(tensor)
    buffer = ffi.from_buffer("float[]", out)
    _check(lib.ec_decode_rows(native.c, first_row, n_rows, buffer, _isa(isa)), "decode_rows")
    return out.reshape(n_rows, *tensor.shape[1:])


def gemv(
    tensor: EncodedTensor, x: NDArray[np.float32], isa: str | None = None, threads: int = 1
) -> NDArray[np.float32]:
    """The product of the tensor, seen as (shape[0], all the rest), with x: float32 (shape[0],).

    `x` float32 (d_in,). Threads share the rows, and the result does not depend on their number.
    """
    return NativeMatrix(tensor, isa).gemv(x, threads)


def gemm(
    tensor: EncodedTensor, x: NDArray[np.float32], isa: str | None = None, threads: int = 1
) -> NDArray[np.float32]:
    """The products of the tensor with several tokens: float32 (n_tokens, shape[0]).

    `x` float32 (n_tokens, d_in). Threads share the rows, and the result does not depend on their
    number.
    """
    return NativeMatrix(tensor, isa).gemm(x, threads)


class NativeMatrix:
    """A tensor seen as (shape[0], all the rest), checked once for many products."""

    def __init__(self, tensor: EncodedTensor, isa: str | None = None) -> None:
        self.rows, self.columns = matrix_sides(tensor.shape)
        self._isa = _isa(isa)
        self._tensor = _checked(tensor)

    def gemv(self, x: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
        """The product with one token: `x` float32 (columns,), result float32 (rows,)."""
        y = np.empty(self.rows, np.float32)
        x = self._prepared(_checked_x(x, (self.columns,)))
        _by_rows(lambda first, n: self._gemv(first, x, y[first : first + n]), self.rows, threads)
        return y

    def gemv_rows(self, first_row: int, n_rows: int, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Some elements of the same product, float32 (n_rows,)."""
        _check_range(first_row, n_rows, self.rows, "rows")
        y = np.empty(n_rows, np.float32)
        self._gemv(first_row, self._prepared(_checked_x(x, (self.columns,))), y)
        return y

    def gemm(self, x: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
        """Products with several tokens: `x` (n_tokens, columns), result (n_tokens, rows)."""
        n_tokens = len(x) if isinstance(x, np.ndarray) and x.ndim else 0
        y = np.empty((n_tokens, self.rows), np.float32)
        x = self._prepared(_checked_x(x, (n_tokens, self.columns)))

        def multiply(first: int, n: int) -> None:
            share = np.empty((n_tokens, n), np.float32)
            buffers = ffi.from_buffer("float[]", x), n_tokens, ffi.from_buffer("float[]", share)
            _check(lib.ec_gemm(self._tensor.c, first, n, *buffers, self._isa), "gemm")
            y[:, first : first + n] = share

        _by_rows(multiply, self.rows, threads)
        return y

    def matmul_i8(self, x: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
        """Products with int8 activations (reference.matmul_i8): `x` (n_tokens, columns).

        Float32 (n_tokens, rows); ValueError unless weights are integers times scales.
        """
        if not lib.ec_tensor_is_integer(self._tensor.c):
            raise ValueError(
                "weights are not integers times scales: expected a tensor that has them"
            )
        n_tokens = len(x) if isinstance(x, np.ndarray) and x.ndim else 0
        y = np.empty((n_tokens, self.rows), np.float32)
        x = self._prepared(_checked_x(x, (n_tokens, self.columns)))
        size = lib.ec_quantised_bytes(self._tensor.c, n_tokens)
        memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        quantised = ffi.from_buffer(memory[start : start + size])
        buffer = ffi.from_buffer("float[]", x)
        status = lib.ec_input_quantise(self._tensor.c, buffer, n_tokens, quantised, self._isa)
        _check(status, "quantise")
        out = ffi.from_buffer("float[]", y)

        def multiply(first: int, n: int) -> None:
            rows = (
                self._tensor.c,
                first,
                n,
                quantised,
                n_tokens,
                out + first,
                self.rows,
                self._isa,
            )
            _check(lib.ec_matmul_i8(*rows), "matmul_i8")

        _by_rows(multiply, self.rows, threads)
        return y

    def prepare(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inputs as the C side multiplies them (reference.prepare): `x` (n_tokens, columns)."""
        n_tokens = len(x) if isinstance(x, np.ndarray) and x.ndim else 0
        return self._prepared(_checked_x(x, (n_tokens, self.columns)))

    def _prepared(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        n_tokens = x.size // self.columns
        if lib.ec_input_floats(self._tensor.c, n_tokens) == 0:
            return x
        prepared = np.empty_like(x)
        buffers = ffi.from_buffer("float[]", x), n_tokens, ffi.from_buffer("float[]", prepared)
        _check(lib.ec_input_prepare(self._tensor.c, *buffers, self._isa), "prepare")
        return prepared

    def _gemv(self, first: int, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        buffers = ffi.from_buffer("float[]", x), ffi.from_buffer("float[]", y)
        _check(lib.ec_gemv(self._tensor.c, first, len(y), *buffers, self._isa), "gemv")


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


def _checked(tensor: EncodedTensor) -> NativeTensor:
    native = NativeTensor(tensor)
    _check(lib.ec_tensor_check(native.c), f"tensor of shape {tensor.shape}")
    return native


def _decode(tensor: CData, first: int, count: int, isa: str | None) -> NDArray[np.float32]:
    out = np.empty(count, np.float32)
    status = lib.ec_decode(tensor, first, count, ffi.from_buffer("float[]", out), _isa(isa))
    _check(status, f"weights {first} to {first + count}")
    return out


def _checked_x(x: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    if not isinstance(x, np.ndarray):
        raise TypeError(f"x is a {type(x).__name__}, expected an array float32{shape}")
    if x.dtype != np.float32 or x.shape != shape:
        raise ValueError(f"x is {x.dtype}{x.shape}, expected float32{shape}")
    return np.ascontiguousarray(x)


def _by_rows(multiply: Callable[[int, int], None], rows: int, threads: int) -> None:
    """Calls `multiply(first, n)` for ranges of rows, each range in a thread of its own.

    Where there are enough rows a range starts with a band, which is decoded as a whole.
    """
    if threads < 1:
        raise ValueError(f"threads is {threads}, expected at least 1")
    step = BAND_ROWS if rows >= threads * BAND_ROWS else 1
    bounds = [*(rows * i // threads // step * step for i in range(threads)), rows]
    ranges = [(first, end - first) for first, end in itertools.pairwise(bounds) if first < end]
    if len(ranges) == 1:
        multiply(*ranges[0])
        return
    tasks = [_pool(threads).submit(multiply, *each) for each in ranges]
    for task in tasks:
        task.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


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
