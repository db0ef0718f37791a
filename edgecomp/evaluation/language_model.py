"""Causal language models to be judged: the original, and the same network with decoded weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecomp.checkpoint import Checkpoint, CheckpointError, context_length, hyperparameters
from edgecomp.evaluation.tensor_names import is_expert, network_names
from edgecomp.inspection import damaged_tensors, read_container
from exporters.gguf import ContainerError
from runtime_ops.native import NativeContainer

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

__all__ = [
    "LanguageModel",
    "build_model",
    "load_compressed",
    "load_original",
    "open_tokenizer",
    "read_tokens",
]


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


def load_original(checkpoint: Checkpoint) -> LanguageModel:
    """The network of a checkpoint's config with exactly the checkpoint's weights, in float32.

    Built here rather than by transformers' from_pretrained, which fills what is missing at random
    and may run code from the model's folder. Raises CheckpointError when the network does not fit.
    """
    shapes = {entry.name: entry.shape for entry in checkpoint.tensors}
    check_network(checkpoint.name, checkpoint.config, shapes)
    weights = (
        (entry.name, checkpoint.source(entry.name).read(0, entry.n_weights).reshape(entry.shape))
        for entry in checkpoint.tensors
    )
    return build_model(checkpoint.name, checkpoint.config, weights)


def build_model(
    name: str, config: Mapping[str, Any], weights: Iterable[tuple[str, NDArray[np.float32]]]
) -> LanguageModel:
    """The network of a config.json with the given weights, (name, float32 array) one by one.

    Every parameter must be given, but for a head that is tied to the embedding; CheckpointError
    names what is missing or too many.
    """
    import torch

    network = make_network(name, config)
    targets = dict(network.state_dict(keep_vars=True))
    own_name = network_names(network)
    missing = set(targets)
    for stored, array in weights:
        tensor = own_name(stored)
        if tensor not in targets and is_computed(network, tensor):
            continue
        check_shape(name, targets, tensor, array.shape)
        target = targets[tensor]
        with torch.no_grad():
            target.copy_(torch.from_numpy(array))
        missing -= {other for other in missing if targets[other] is target}
    if missing:
        raise mismatch(name, f"tensor {min(missing)} is missing")
    return wrap(name, network)


def load_compressed(path: Path) -> LanguageModel:
    """The model in a container, every tensor decoded by the C runtime.

    Raises ContainerError when the container or one of its tensors is damaged, CheckpointError when
    the network does not fit, NativeError when the C runtime refuses the file, OSError when it
    cannot be read.
    """
    check_container(path)
    with path.open("rb") as file:
        mapped = mmap(file.fileno(), 0, access=ACCESS_READ)
    container = NativeContainer(mapped)
    try:
        config = json.loads(container.string("edgecomp.model.config"))
    except (KeyError, ValueError, RecursionError) as error:
        raise mismatch(path.name, "the container holds no model config") from error
    if not isinstance(config, dict):
        raise mismatch(path.name, "the container's model config is not a JSON object")
    check_network(path.name, config, {name: container.shape(name) for name in container.names})
    decoded = ((name, container.decode(name)) for name in container.names)
    model = build_model(path.name, config, decoded)
    del decoded, container  # which point into the file
    mapped.close()
    return model


def check_container(path: Path) -> None:
    """ContainerError unless every tensor of the container has its checksum."""
    with read_container(path) as container:
        damaged = damaged_tensors(container)
    if damaged:
        raise ContainerError(
            f"{path}: {len(damaged)} tensors do not match their checksum, such as {damaged[0]}"
        )


def check_network(
    name: str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """CheckpointError unless the config's network has these tensors; made without its memory."""
    import torch

    blocks = hyperparameters(config).get("block_count", 0)
    if not isinstance(blocks, int) or blocks > len(shapes):
        raise mismatch(name, f"{blocks} blocks of layers, expected at most {len(shapes)} tensors")
    with torch.device("meta"):
        network = make_network(name, config)
    targets = network.state_dict()
    own_name = network_names(network)
    for stored, shape in shapes.items():
        tensor = own_name(stored)
        if tensor in targets or not is_computed(network, tensor):
            check_shape(name, targets, tensor, shape)


def make_network(name: str, config: Mapping[str, Any]) -> Any:
    """The network of a config.json with weights that mean nothing."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    try:
        parsed = CONFIG_MAPPING[str(config.get("model_type"))].from_dict(dict(config))
        from_config: Any = AutoModelForCausalLM.from_config  # transformers leaves it without types
        return from_config(parsed, dtype=torch.float32)
    except Exception as error:  # whatever a config makes of transformers' classes
        raise not_loadable(name, error) from error


def is_computed(network: Any, tensor: str) -> bool:
    """True for what old checkpoints hold and networks compute by themselves, such as inv_freq.

    Only for a tensor that the network does not have: the patterns match names of others too.
    """
    patterns = network._keys_to_ignore_on_load_unexpected or []
    return tensor.endswith("rotary_emb.inv_freq") or any(re.search(p, tensor) for p in patterns)


def check_shape(
    name: str, targets: Mapping[str, torch.Tensor], tensor: str, shape: tuple[int, ...]
) -> None:
    """CheckpointError unless the network has a tensor of that name and shape."""
    if tensor not in targets and is_expert(tensor):
        raise CheckpointError(
            f"{name}: tensor {tensor} is one expert's: evaluation works on mixtures of experts "
            "only where a tensor holds all experts",
            "compress and inspect work on any mixture",
        )
    if tensor not in targets:
        raise mismatch(name, f"tensor {tensor} has no place in the network")
    expected = tuple(targets[tensor].shape)
    if expected != shape:
        raise mismatch(name, f"{tensor} is {shape}, expected {expected}")


def read_tokens(tokenizer: Path, text: str) -> NDArray[np.int64]:
    """The token ids of a text, without special tokens around it, int64 (n,).

    Raises CheckpointError when the tokenizers library cannot read the tokenizer.json.
    """
    encoding = open_tokenizer(tokenizer).encode(text, add_special_tokens=False)
    return np.array(encoding.ids, dtype=np.int64)


def open_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a tokenizer.json; CheckpointError when the library cannot read it."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        raise CheckpointError(
            f"{path}: not a tokenizer: {first_line(error)}", "put the model's tokenizer.json there"
        ) from error


def wrap(name: str, network: Any) -> LanguageModel:
    """A LanguageModel around a transformers network; CheckpointError without a vocabulary size."""
    network.eval()
    config = network.config.get_text_config().to_dict()
    vocab_size = config.get("vocab_size")
    if not isinstance(vocab_size, int):
        raise mismatch(name, f"the config's vocab_size is {vocab_size!r}, expected a whole number")
    return LanguageModel(name, network, vocab_size, context_length(config))


def not_loadable(name: str, error: Exception) -> CheckpointError:
    """The error for a model that transformers refuses."""
    return CheckpointError(
        f"{name}: transformers cannot load it as a causal language model: {first_line(error)}",
        "calibrate, eval and --codec crvq work on causal language models that transformers knows",
    )


def first_line(error: Exception) -> str:
    """The first line of an error's text."""
    return (str(error).strip() or repr(error)).splitlines()[0]


def mismatch(name: str, what: str) -> CheckpointError:
    """The error for weights that are not the network's."""
    return CheckpointError(f"{name}: {what}", "compress the model again from a complete checkpoint")
