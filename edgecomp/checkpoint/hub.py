"""Models from the Hugging Face hub, through huggingface_hub's ordinary download and cache."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from edgecomp.checkpoint.safetensors_file import CheckpointError
from edgecomp.checkpoint.shard_index import INDEX_NAME, read_index

__all__ = ["download", "is_hub_id"]

SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    INDEX_NAME,
)


def is_hub_id(model: str) -> bool:
    """Whether `model` can only be a hub id: owner/name, where no folder `owner` is here."""
    owner = model.partition("/")[0]
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", model):
        return False
    return not Path(owner).is_dir()


def download(hub_id: str) -> Path:
    """The local folder with the hub model's config, tokenizer and weights, from the cache if there.

    Weights are the shards that the index names, or model.safetensors; nothing else is fetched.
    Raises CheckpointError in one line for an unknown or gated model, or no network.
    """
    folder = fetch(hub_id, SMALL_FILES, None)
    index = folder / INDEX_NAME
    shards = set(read_index(index).values()) if index.is_file() else {"model.safetensors"}
    # The folder is named by its commit: what comes later belongs to the same version.
    return fetch(hub_id, tuple(sorted(map(glob.escape, shards))), folder.name)


def fetch(hub_id: str, names: tuple[str, ...], revision: str | None) -> Path:
    """The local folder with those files of a hub model, of the newest version if None is given."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(names)))
    except GatedRepoError as error:
        raise CheckpointError(
            f"hub model {hub_id} needs its owner's permission",
            "accept its terms on the model's page, then: hf auth login",
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"no folder and no hub model {hub_id}",
            "check the spelling; for a private model: hf auth login",
        ) from error
    except Exception as error:  # the hub's HTTP library is not part of its interface
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise CheckpointError(
            f"hub model {hub_id} could not be downloaded: {reason}",
            "check the network, or download the folder by other means and give its path",
        ) from error
