"""What decides the bytes of an output, as text: so that a run knows whether it is another's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

from edgecomp.checkpoint import Checkpoint
from edgecomp.encode import Settings

__all__ = ["job_text", "settings_text", "sha256_of"]


def settings_text(settings: Settings) -> str:
    """The settings as JSON with sorted keys: codec, preset and the preset's fields."""
    values: dict[str, object] = {"codec": settings.codec, "preset": settings.preset}
    for field in fields(settings):
        value = getattr(settings, field.name)
        is_float = "float" in str(field.type) and value is not None
        values[field.name] = float(value) if is_float else value  # bits=4 and bits=4.0 are the same
    return json.dumps(values, sort_keys=True)


def job_text(
    checkpoint: Checkpoint, settings: Settings, learned: Mapping[str, object] | None = None
) -> str:
    """What decides the output's bytes, as JSON: version, settings and a fingerprint of the model.

    `learned` says what was learned from besides the model. A shard counts as unchanged while its
    name, size, modification time and header are the same.
    """
    texts = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    files = {
        name: sha256_of(checkpoint.folder / name)
        for name in texts
        if (checkpoint.folder / name).is_file()
    }
    shards = {}
    for shard in checkpoint.shards:
        status = shard.stat()
        entries = [
            (entry.name, entry.dtype, entry.shape, entry.offset)
            for entry in checkpoint.tensors
            if entry.shard == shard
        ]
        shards[shard.name] = [status.st_size, status.st_mtime_ns, entries]
    return json.dumps(
        {
            "edgecomp": version("edgecomp"),
            "name": checkpoint.name,
            "settings": settings_text(settings),
            "learned": dict(learned or {}),
            "files": files,
            "shards": shards,
        },
        indent=1,
    )


def sha256_of(path: Path) -> str:
    """The hexadecimal sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
