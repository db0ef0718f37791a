"""A checkpoint's network without its weights: parameters on the meta device, buffers real."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgecomp.checkpoint import Checkpoint, CheckpointError, hyperparameters
from edgecomp.evaluation.language_model import is_computed, make_network
from edgecomp.evaluation.tensor_names import is_expert, network_names

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Skeleton", "make_skeleton", "refused"]


@dataclass(frozen=True)
class Skeleton:
    """A network in evaluation mode and the checkpoint's name of each of its tensors.

    `tensors` has every parameter and saved buffer; tied ones share a checkpoint tensor.
    """

    network: Any  # a transformers causal language model: transformers has no types for these
    blocks: nn.ModuleList
    blocks_path: str  # such as model.layers
    tensors: Mapping[str, str]  # name in the network -> name in the checkpoint


def make_skeleton(checkpoint: Checkpoint) -> Skeleton:
    """The skeleton of a checkpoint's network; its memory is that of the buffers.

    Raises CheckpointError for a mixture of experts, and when the checkpoint's tensors are not those
    of its config's network.
    """
    check_experts(checkpoint)
    n_blocks = hyperparameters(checkpoint.config).get("block_count", 0)
    if not isinstance(n_blocks, int) or n_blocks > len(checkpoint.tensors):
        raise refused(
            checkpoint.name,
            f"{n_blocks} blocks of layers, expected at most {len(checkpoint.tensors)} tensors",
        )
    with parameters_without_memory():
        network = make_network(checkpoint.name, checkpoint.config)
    network.eval()
    network.requires_grad_(False)
    path, blocks = find_blocks(checkpoint.name, network)
    return Skeleton(network, blocks, path, match_tensors(checkpoint, network))


def check_experts(checkpoint: Checkpoint) -> None:
    """CheckpointError for a mixture of experts, whose inputs depend on a router."""
    experts = [entry.name for entry in checkpoint.tensors if is_expert(entry.name)]
    if experts:
        raise CheckpointError(
            f"{checkpoint.name}: calibration does not support mixtures of experts (tensor "
            f"{experts[0]})",
            "use --codec winding: without --critical it needs no calibration",
        )


@contextlib.contextmanager
def parameters_without_memory() -> Iterator[None]:
    """Every parameter that a module gets inside of the block lies on the meta device.

    Buffers stay real: those that a checkpoint does not hold, such as the frequencies of rotary
    embeddings, are computed when a module is made.
    """
    from torch import nn
    from torch.nn.modules.module import register_module_parameter_registration_hook

    def put_on_meta(module: nn.Module, name: str, param: nn.Parameter) -> nn.Parameter | None:
        del module, name
        on_meta = param.device.type == "meta"
        return None if on_meta else nn.Parameter(param.to("meta"), requires_grad=False)

    replaces: Any = put_on_meta  # torch's annotation says that a hook returns None
    hook = register_module_parameter_registration_hook(replaces)
    try:
        yield
    finally:
        hook.remove()


def find_blocks(name: str, network: Any) -> tuple[str, nn.ModuleList]:
    """The path and the list of a network's blocks: the list that holds the most parameters."""
    from torch import nn

    lists = [
        (path, module)
        for path, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and len(module)
    ]
    if not lists:
        raise refused(name, "the network has no list of blocks")
    return max(lists, key=lambda item: sum(param.numel() for param in item[1].parameters()))


def match_tensors(checkpoint: Checkpoint, network: Any) -> dict[str, str]:
    """The checkpoint's name of every tensor of the network; a tied one has one of its names.

    Raises CheckpointError for a tensor that is missing, too many or of another shape.
    """
    targets = network.state_dict(keep_vars=True)
    own_name = network_names(network)
    found: dict[int, str] = {}
    for entry in checkpoint.tensors:
        own = own_name(entry.name)
        if own in targets:
            expected = tuple(targets[own].shape)
            if entry.shape != expected:
                raise refused(checkpoint.name, f"{entry.name} is {entry.shape}, not {expected}")
            found[id(targets[own])] = entry.name  # the last one counts, as in load_original
        elif not is_computed(network, entry.name):
            raise refused(checkpoint.name, f"tensor {entry.name} has no place in the network")
    for own, target in targets.items():
        if id(target) not in found:
            raise refused(checkpoint.name, f"tensor {own} is missing")
    return {own: found[id(target)] for own, target in targets.items()}


def refused(name: str, what: str) -> CheckpointError:
    """The error for a model that cannot be run block by block."""
    return CheckpointError(
        f"{name}: {what}",
        "calibrate and --codec crvq work on complete checkpoints of causal language models that "
        "transformers knows",
    )
