"""The JSON files of a model folder, and the index that says which shard holds which tensor."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from edgecomp.checkpoint.safetensors_file import CheckpointError

__all__ = ["INDEX_NAME", "read_index", "read_json"]

INDEX_NAME = "model.safetensors.index.json"


def read_index(index: Path) -> dict[str, str]:
    """The shard of every tensor: names of files in the index file's own folder.

    Raises CheckpointError when the file is damaged or names a file elsewhere.
    """
    weight_map = read_json(index, "").get("weight_map")
    if not isinstance(weight_map, dict):
        raise CheckpointError(f"{index}: no weight_map", "download the index file again")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not is_file_name(shard):
            raise CheckpointError(
                f"{index}: tensor {name} is in {shard!r}, expected a file of the same folder",
                "use an index file that was saved with the model",
            )
    return weight_map


def is_file_name(text: str) -> bool:
    """Whether a text names a file in the same folder."""
    return text != ".." and not set(text) & set("\\\0") and PurePosixPath(text).name == text


def read_json(path: Path, hint: str) -> dict[str, object]:
    """The JSON object in a file; CheckpointError when it is missing or something else."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent}: no {path.name}", hint) from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON ({error})", "download the file again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: not a JSON object", "download the file again")
    return value
