"""The payloads of a file, which are GGUF tensors of one dimension, taken one after another."""

from __future__ import annotations

from mmap import mmap

import numpy as np
from numpy.typing import NDArray

from exporters.gguf.parse import GGUFStructure, check_zeros
from exporters.gguf.spec import PAYLOAD_TYPES, ContainerError, align
from runtime_ops.formats import PartSpec


class Payloads:
    """The GGUF tensors of a file, taken in the order in which they must come."""

    def __init__(self, data: bytes | mmap, structure: GGUFStructure) -> None:
        self._data = data
        self._infos = structure.infos
        self._start = structure.data_offset
        self._taken = 0
        self.end = 0  # of the last one taken, rounded up, from the start of the data

    def take(self, name: str, spec: PartSpec) -> NDArray[np.generic]:
        """The next payload, which must have that name, and dtype and size of `spec`; not copied."""
        what = f"GGUF tensor {name!r}"
        if self._taken == len(self._infos):
            raise ContainerError(f"{what}: missing, the file has {self._taken} GGUF tensors")
        info = self._infos[self._taken]
        self._taken += 1
        found = (info.name, info.type, info.size, info.offset)
        expected = (name, int(PAYLOAD_TYPES[spec.dtype]), spec.size, self.end)
        for field, a, b in zip(("name", "type", "size", "offset"), found, expected, strict=True):
            if a != b:
                raise ContainerError(f"{what}: {field} is {a!r}, expected {b!r}")
        start = self._start + self.end
        n_bytes = spec.size * spec.dtype.itemsize
        if n_bytes > len(self._data) - start:
            raise ContainerError(
                f"{what}: {n_bytes} bytes at byte {start}, expected to end by {len(self._data)}"
            )
        self.end += align(n_bytes)
        check_zeros(self._data, start + n_bytes, self._start + self.end, what)
        return np.frombuffer(self._data, spec.dtype, spec.size, start)

    def check_end(self) -> None:
        """ContainerError unless every payload was taken and the file ends behind the last one."""
        if self._taken != len(self._infos):
            raise ContainerError(f"{len(self._infos)} GGUF tensors, expected {self._taken}")
        if self._start + self.end != len(self._data):
            size = len(self._data)
            raise ContainerError(f"file: {size} bytes, expected {self._start + self.end}")
