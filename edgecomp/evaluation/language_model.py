"""Causal language models to be judged: the original, and the same network with decoded weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.checkpoint import CheckpointError, context_length
from runtime_ops.native import NativeContainer

if TYPE_CHECKING:
    import torch

__all__ = ["LanguageModel", "build_model", "load_compressed", "load_original", "read_tokens"]


@dataclass(frozen=True)
class LanguageModel:
    """A network in evaluation mode with float32 weights."""

    name: str
    network: Any  # a transformers causal language model: transformers has no types for these
    vocab_size: int
    context: int | None  # longest input in tokens

    def logits(self, tokens: NDArray[np.int64]) -> torch.Tensor:
        """Next-token logits, float32 (n, length, vocab), for tokens int64 (n, length)."""
        import torch

        with torch.inference_mode():
            output = self.network(input_ids=torch.from_numpy(tokens), use_cache=False)
            logits: torch.Tensor = output.logits.float()
            return logits


def load_original(folder: Path) -> LanguageModel:
    """The model in a Hugging Face folder, as transformers loads it, in float32.

    Raises CheckpointError when transformers cannot load it.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    quiet: Any = logging.disable_progress_bar  # transformers leaves it without types
    quiet()
    try:
        network = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        )
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        raise not_loadable(str(folder), error) from error
    return wrap(folder.resolve().name, network)


def build_model(
    name: str, config: Mapping[str, Any], weights: Iterable[tuple[str, NDArray[np.float32]]]
) -> LanguageModel:
    """The network of a config.json with the given weights, (name, float32 array) one by one.

    Every parameter must be given, but for a head that is tied to the embedding; CheckpointError
    names what is missing or too many.
    """
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    try:
        parsed = CONFIG_MAPPING[str(config.get("model_type"))].from_dict(dict(config))
        from_config: Any = AutoModelForCausalLM.from_config  # transformers leaves it without types
        network = from_config(parsed, dtype=torch.float32)
    except (ValueError, KeyError) as error:
        raise not_loadable(name, error) from error
    targets = dict(network.state_dict(keep_vars=True))
    missing = set(targets)
    for tensor, array in weights:
        if tensor not in targets:
            raise mismatch(name, f"tensor {tensor} has no place in the network")
        target = targets[tensor]
        if tuple(target.shape) != array.shape:
            raise mismatch(name, f"{tensor} is {array.shape}, expected {tuple(target.shape)}")
        with torch.no_grad():
            target.copy_(torch.from_numpy(array))
        missing -= {other for other in missing if targets[other] is target}
    if missing:
        raise mismatch(name, f"tensor {min(missing)} is missing")
    return wrap(name, network)


def load_compressed(path: Path) -> LanguageModel:
    """The model in a container, every tensor decoded by the C runtime.

    Raises CheckpointError when the network does not fit, ContainerError or FormatError when the
    container is damaged.
    """
    container = NativeContainer(path.read_bytes())
    try:
        config = json.loads(container.string("edgecomp.model.config"))
    except (KeyError, ValueError) as error:
        raise mismatch(path.name, "the container holds no model config") from error
    decoded = ((name, container.decode(name)) for name in container.names)
    return build_model(path.name, config, decoded)


def read_tokens(tokenizer: Path, text: str) -> NDArray[np.int64]:
    """The token ids of a text, without special tokens around it, int64 (n,)."""
    from tokenizers import Tokenizer

    encoding = Tokenizer.from_file(str(tokenizer)).encode(text, add_special_tokens=False)
    return np.array(encoding.ids, dtype=np.int64)


def wrap(name: str, network: Any) -> LanguageModel:
    """A LanguageModel around a transformers network."""
    network.eval()
    config = network.config.to_dict()
    return LanguageModel(name, network, int(config["vocab_size"]), context_length(config))


def not_loadable(name: str, error: Exception) -> CheckpointError:
    """The error for a model that transformers refuses."""
    reason = (str(error).strip() or repr(error)).splitlines()[0]
    return CheckpointError(
        f"{name}: transformers cannot load it as a causal language model: {reason}",
        "evaluation works on causal language models that transformers knows",
    )


def mismatch(name: str, what: str) -> CheckpointError:
    """The error for weights that are not the network's."""
    return CheckpointError(f"{name}: {what}", "compress the model again from a complete checkpoint")
