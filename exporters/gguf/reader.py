"""Opens a container: metadata, and tensors whose parts lie in the mapped file.

Everything is checked when a file is opened; docs/format.md, "Readers", says what.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from mmap import ACCESS_READ, mmap
from pathlib import Path
from types import TracebackType
from typing import Self

from exporters.bundle import MetadataValue
from exporters.gguf.contents import TensorEntry, check_keys, read_tensors
from exporters.gguf.digest import digest
from exporters.gguf.format_reader import read_formats
from exporters.gguf.parse import parse
from exporters.gguf.payloads import Payloads
from exporters.gguf.spec import MODEL_PREFIX, TOKENIZER_PREFIX, ContainerError
from runtime_ops.formats import EncodedTensor


class Container:
    """A container in memory or in a mapped file.

    `metadata` holds every key; `formats` and `tensors` what they describe, in file order.
    """

    def __init__(self, data: bytes | mmap) -> None:
        """ContainerError when `data` is not a valid container."""
        structure = parse(data)
        check_keys(structure.metadata)
        self._data = data
        self.file_bytes = len(data)
        self.metadata: dict[str, MetadataValue] = {
            key: entry.value for key, entry in structure.metadata.items()
        }
        payloads = Payloads(data, structure)
        self.formats = read_formats(self.metadata, payloads)
        tensors: list[TensorEntry] = []
        self._encoded: dict[str, EncodedTensor] = {}
        for entry, encoded in read_tensors(self.metadata, self.formats, payloads):
            tensors.append(entry)
            self._encoded[entry.name] = encoded
        payloads.check_end()
        self.tensors = tuple(tensors)

    @property
    def name(self) -> str:
        """Name of the model."""
        return str(self.metadata["general.name"])

    @property
    def writer(self) -> str:
        """Program and version that wrote the file."""
        return str(self.metadata["edgecomp.writer"])

    @property
    def settings(self) -> str:
        """What made the file: JSON text, not checked."""
        return str(self.metadata["edgecomp.settings"])

    @property
    def model(self) -> dict[str, MetadataValue]:
        """The architecture's hyper-parameters, without their prefix, as ModelBundle has them."""
        n = len(MODEL_PREFIX)
        return {k[n:]: v for k, v in self.metadata.items() if k.startswith(MODEL_PREFIX)}

    @property
    def tokenizer(self) -> dict[str, MetadataValue]:
        """The tokenizer's keys, complete, as ModelBundle has them."""
        return {k: v for k, v in self.metadata.items() if k.startswith(TOKENIZER_PREFIX)}

    def read(self, name: str) -> EncodedTensor:
        """The tensor of that name; its parts lie in the file and cannot be written to.

        ContainerError when there is none.
        """
        if name not in self._encoded:
            raise ContainerError(f"tensor {name!r}: not in the file")
        return self._encoded[name]

    def verify(self) -> list[str]:
        """Names of the tensors whose digest differs from the stored one, in file order."""
        return [t.name for t in self.tensors if digest(self._encoded[t.name]) != t.sha256]

    def close(self) -> None:
        """Gives the file back, now or as soon as no tensor points into it any more."""
        self._encoded = {}
        if isinstance(self._data, mmap):
            _close(self._data)
        self._data = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_container(path: Path) -> Container:
    """The container at `path`, mapped and not copied; close it, or use it in a `with`.

    OSError when it cannot be opened or is not a regular file, ContainerError when it is not a valid
    container.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # asked first: opening a pipe waits for its writer
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:  # which cannot be mapped
            return Container(b"")
        mapped = mmap(file.fileno(), 0, access=ACCESS_READ)
    try:
        return Container(mapped)
    except BaseException:
        _close(mapped)
        raise


def _close(mapped: mmap) -> None:
    with contextlib.suppress(BufferError):  # an array still points into it, and keeps it
        mapped.close()
