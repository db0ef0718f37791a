"""Models from the Hugging Face hub, through huggingface_hub's ordinary download and cache."""

from __future__ import annotations

import re
from pathlib import Path

from edgecomp.checkpoint.safetensors_file import CheckpointError

__all__ = ["download", "is_hub_id"]

WANTED = ["*.safetensors", "*.json"]


def is_hub_id(model: str) -> bool:
    """Whether `model` can only be a hub id: owner/name, where no folder `owner` is here."""
    owner = model.partition("/")[0]
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", model):
        return False
    return not Path(owner).is_dir()


def download(hub_id: str) -> Path:
    """The local folder with the hub model's safetensors and JSON files, from the cache if there.

    Raises CheckpointError in one line for an unknown or gated model, or no network.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=WANTED))
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
