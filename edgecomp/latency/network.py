"""The work of an encoder or a convolutional net: multiplications, counted on a model without data.

torch builds the model of a config on its "meta" device, where tensors have shapes and no numbers,
and counts while it runs (torch.utils.flop_counter).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from devices.work import Network, Operation
from edgecomp.latency.language_model import LatencyError
from edgecomp.latency.stored import StoredModel, StoredTensor
from runtime_ops.formats import ColumnsFormat
from runtime_ops.kernel_names import kernel_of

if TYPE_CHECKING:
    import torch

__all__ = ["network"]

ACTIVATION_BYTES = 4  # float32


def network(model: StoredModel, tokens: int, image: tuple[int, int, int] | None) -> Network:
    """The work for one input: `tokens` of a text, or an image of channels, height, width.

    LatencyError for an architecture that transformers does not know, or that takes another input.
    """
    config = json.loads(str(model.keys.get("config", "{}")))
    counts, activation = counted(model.name, config, tokens, image)
    operations = []
    for name, multiplies in counts.items():
        stored = find_tensor(model, name)
        if stored is None:
            operations.append(Operation(name, "", multiplies, 0.0, 0))
        else:
            operations.append(operation(name, stored, multiplies))
    return Network(model.name, tuple(operations), model.file_bytes, activation)


def find_tensor(model: StoredModel, module: str) -> StoredTensor | None:
    """The weight of a module; checkpoints may leave a prefix such as "bert." in or out."""
    name = f"{module}.weight"
    found = model.tensors.get(name)
    if found is None:
        ends = [each for key, each in model.tensors.items() if key.endswith(f".{name}")]
        ends += [each for key, each in model.tensors.items() if name.endswith(f".{key}")]
        found = ends[0] if len(ends) == 1 else None
    return found


def operation(name: str, stored: StoredTensor, multiplies: float) -> Operation:
    """A module with its weight; the kernel is that of the most weights."""
    fmt = stored.format.rest if isinstance(stored.format, ColumnsFormat) else stored.format
    kernel = kernel_of(fmt, stored.shape[0])
    return Operation(name, kernel, multiplies, float(stored.n_weights), stored.n_bytes)


def counted(
    name: str, config: Mapping[str, Any], tokens: int, image: tuple[int, int, int] | None
) -> tuple[dict[str, float], int]:
    """Multiplications of each module that has any of its own, and the largest pair of activations.

    What a module does beside its parts, such as attention between its linears, has its own name.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    net = build(name, config)
    largest = watch_activations(net)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        try:
            net(**inputs(config, tokens, image))
        except (TypeError, ValueError, RuntimeError, IndexError) as error:
            raise LatencyError(
                f"{name}: the network does not take this input: {error}",
                "--context gives the tokens of a text, --image channels x height x width",
            ) from error
    totals = {module: sum(ops.values()) / 2 for module, ops in counter.get_flop_counts().items()}
    totals.pop("Global", None)
    own = own_counts(totals)
    if not own:
        raise LatencyError(f"{name}: no multiplications were counted", "is it a network?")
    return own, largest[0]


def own_counts(totals: Mapping[str, float]) -> dict[str, float]:
    """What modules do beside the modules inside of them, by path without the root's name."""
    own = dict(totals)
    for path, count in totals.items():
        outer = path.rpartition(".")[0]
        while outer and outer not in totals:
            outer = outer.rpartition(".")[0]
        if outer:
            own[outer] -= count
    return {path.partition(".")[2] or path: count for path, count in own.items() if count > 0}


def build(name: str, config: Mapping[str, Any]) -> torch.nn.Module:
    """The network of a config, without numbers; LatencyError for a type that is not known."""
    import torch
    from transformers import AutoConfig, AutoModel

    fields = {key: value for key, value in config.items() if key != "model_type"}
    try:
        settings = AutoConfig.for_model(str(config.get("model_type", "")), **fields)
        from_config: Any = AutoModel.from_config  # transformers leaves it without types
        with torch.device("meta"):
            net: torch.nn.Module = from_config(settings)
        return net.eval()
    except (ValueError, KeyError, TypeError, ImportError) as error:
        raise LatencyError(
            f"{name}: transformers cannot build this network: {error}",
            "give a folder whose config.json has the model_type of a network it knows",
        ) from error


def inputs(
    config: Mapping[str, Any], tokens: int, image: tuple[int, int, int] | None
) -> dict[str, Any]:
    """One input of the network: an image where its config tells of one, or it was given."""
    import torch

    sides = image
    if sides is None and "num_channels" in config:
        side = config.get("image_size", 224)
        height, width = side if isinstance(side, list | tuple) else (side, side)
        sides = int(config["num_channels"]), int(height), int(width)
    if sides is not None:
        return {"pixel_values": torch.empty(1, *sides, device="meta")}
    ids = torch.empty(1, tokens, dtype=torch.long, device="meta")
    return {"input_ids": ids}


def watch_activations(net: torch.nn.Module) -> list[int]:
    """A list whose one number becomes the bytes of the largest input and output of a module."""
    import torch

    largest = [0]

    def look(module: torch.nn.Module, given: Any, output: Any) -> None:
        del module
        tensors = [each for each in (*given, output) if isinstance(each, torch.Tensor)]
        n_bytes = sum(ACTIVATION_BYTES * math.prod(each.shape) for each in tensors)
        largest[0] = max(largest[0], n_bytes)

    for module in net.modules():
        module.register_forward_hook(look)
    return largest
