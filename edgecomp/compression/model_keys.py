"""The container's metadata, made and tried before the first tensor is encoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgecomp.checkpoint import Checkpoint, TokenizerError, hyperparameters, tokenizer_keys
from edgecomp.compression.fingerprint import settings_text
from edgecomp.encode import Settings
from exporters.bundle import ModelBundle, TensorSource
from exporters.gguf import ContainerError, write_container
from runtime_ops.formats import EncodedTensor, RawFormat

__all__ = ["accepted_bundle"]


def accepted_bundle(
    checkpoint: Checkpoint, settings: Settings, trial: Path, note: Callable[[str], None]
) -> ModelBundle:
    """The model's container without its weights: every tensor is a placeholder of one weight.

    It was written to the file `trial` and read back, so names, config and tokenizer are known to
    fit. A tokenizer that does not is left out, with a note. Raises ContainerError for the others,
    CheckpointError for a config with numbers that are not finite.
    """
    bundle = ModelBundle(
        name=checkpoint.name,
        tensors=tuple(TensorSource(entry.name, placeholder) for entry in checkpoint.tensors),
        settings=settings_text(settings),
        model=hyperparameters(checkpoint.config),
    )
    try_to_write(bundle, trial)
    vocab_size = checkpoint.config.get("vocab_size")
    try:
        keys = tokenizer_keys(
            checkpoint.folder, vocab_size if isinstance(vocab_size, int) else None
        )
        with_tokenizer = replace(bundle, tokenizer=keys)
        try_to_write(with_tokenizer, trial)
    except (TokenizerError, ContainerError) as error:
        note(f"the tokenizer is not stored: {error}")
        return bundle
    return with_tokenizer


def placeholder() -> EncodedTensor:
    """A tensor of one weight."""
    return EncodedTensor(RawFormat("f16"), (1,), {"raw": np.zeros(1, np.float16)})


def try_to_write(bundle: ModelBundle, trial: Path) -> None:
    """Writes a bundle and removes it; ContainerError when it does not fit into a container."""
    try:
        write_container(bundle, trial)
    finally:
        trial.unlink(missing_ok=True)
