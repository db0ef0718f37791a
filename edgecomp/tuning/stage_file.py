"""The file of a finished stage: safetensors, all of it or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from edgecomp.disk import sync_folder

__all__ = ["write_stage"]


def write_stage(tensors: Mapping[str, Tensor], meta: Mapping[str, str], path: Path) -> None:
    """Writes tensors and metadata to a safetensors file; OSError when it cannot be written.

    safetensors' own way to a file leaves others behind when it is killed, and does not say why a
    write failed.
    """
    held = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    content = save(held, dict(meta))
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)
