"""A container's model, over the C runtime: mapped, decoded never to full size."""

from __future__ import annotations

import mmap
from pathlib import Path

from runtime_ops.native_model import ModelError, ModelOptions, NativeModel

__all__ = ["map_file", "open_model"]


def map_file(path: Path) -> mmap.mmap:
    """A file as memory, read as it is needed. OSError; ModelError when it is empty."""
    with path.open("rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise ModelError(
                f"{path} is empty", "give a container that `edgecomp compress` wrote"
            ) from error


def open_model(path: Path, data: mmap.mmap, options: ModelOptions) -> NativeModel:
    """The model of a mapped container; a ModelError names the file."""
    try:
        return NativeModel(data, options)
    except ModelError as error:
        raise ModelError(f"{path}: {error}", error.hint) from error
