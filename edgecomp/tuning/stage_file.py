"""The file of a finished stage: safetensors with a checksum, all of it or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from edgecomp.disk import sync_folder

__all__ = ["Stage", "StageError", "is_whole", "read_stage", "write_stage"]

META = "stage"  # safetensors would write several texts in any order


class StageError(ValueError):
    """A stage's file that is damaged."""


@dataclass(frozen=True)
class Stage:
    """What a stage's file holds."""

    tensors: Mapping[str, Tensor]
    meta: Mapping[str, str]


def write_stage(tensors: Mapping[str, Tensor], meta: Mapping[str, str], path: Path) -> None:
    """Writes tensors and texts to a file; OSError when it cannot be written.

    The same contents give the same bytes. safetensors' own way to a file leaves others behind when
    it is killed, and does not say why a write failed.
    """
    held = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({**meta, "sha256": checksum(held, meta)}, sort_keys=True)
    content = save(held, {META: text})
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def read_stage(path: Path, device: torch.device | str = "cpu") -> Stage:
    """The contents of a file of `write_stage`, on the device; StageError when it is damaged."""
    content = path.read_bytes()
    try:
        tensors = load(content)
        size = struct.unpack("<Q", content[:8])[0]
        meta = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][META])
        expected = meta.pop("sha256")
    except (SafetensorError, ValueError, KeyError, TypeError, struct.error) as error:
        raise StageError(f"{path} is damaged: {error}") from error
    if checksum(tensors, meta) != expected:
        raise StageError(f"{path} does not match its checksum")
    return Stage({name: tensor.to(device) for name, tensor in tensors.items()}, meta)


def is_whole(path: Path) -> bool:
    """Whether the stage is finished: its file is there, and undamaged."""
    try:
        read_stage(path)
    except (FileNotFoundError, StageError):
        return False
    return True


def checksum(tensors: Mapping[str, Tensor], meta: Mapping[str, str]) -> str:
    """SHA-256 of names, types, shapes and bytes of CPU tensors, and of the texts."""
    found = hashlib.sha256(json.dumps(dict(meta), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
