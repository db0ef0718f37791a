"""Which model statistics belong to."""

from __future__ import annotations

import hashlib
import json

from edgecomp.checkpoint import Checkpoint

__all__ = ["model_fingerprint"]

SAMPLE_WEIGHTS = 1 << 14  # of each tensor: all of a norm, some rows of a matrix


def model_fingerprint(checkpoint: Checkpoint) -> str:
    """A hexadecimal sha256 of the config and of every tensor's name, shape and first weights.

    It is the same wherever the model lies and whatever it is called; a model that was trained on
    has another one.
    """
    state = hashlib.sha256(json.dumps(checkpoint.config, sort_keys=True).encode())
    for entry in checkpoint.tensors:
        state.update(json.dumps([entry.name, entry.shape]).encode())
        sample = checkpoint.source(entry.name).read(0, min(entry.n_weights, SAMPLE_WEIGHTS))
        state.update(sample.tobytes())
    return state.hexdigest()
