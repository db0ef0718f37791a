"""Which linears read the same input: found by watching one forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Site", "find_linears", "watch_linears"]


@dataclass(frozen=True)
class Site:
    """One input of linears: `tensors` are the checkpoint's names of all weights that read it.

    A weight is (d_out, columns), or (columns, d_out) when `transposed` (GPT-2's Conv1D).
    """

    columns: int
    tensors: tuple[str, ...]
    transposed: bool = False


def find_linears(module: nn.Module, names: Mapping[str, str]) -> dict[nn.Module, str]:
    """The linears in a module with the checkpoint's name of their weight.

    `names` has the checkpoint's name of every parameter of the module.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return {
        part: names[f"{path}.weight" if path else "weight"]
        for path, part in module.named_modules()
        if isinstance(part, nn.Linear | Conv1D)
    }


@contextlib.contextmanager
def watch_linears(
    linears: Mapping[nn.Module, str], read: Callable[[torch.Tensor, list[nn.Module]], None]
) -> Iterator[None]:
    """Calls `read(input, linears)` for each input that was read while the block ran, at its end.

    Linears that get the very same memory as input share one call; inputs come in the order in
    which they were first read.
    """
    inputs: dict[tuple[int, ...], tuple[torch.Tensor, list[nn.Module]]] = {}

    def watch(module: nn.Module, args: tuple[Any, ...]) -> None:
        tensor = args[0].detach()
        key = (
            tensor.untyped_storage().data_ptr(),
            tensor.storage_offset(),
            tensor.numel(),
            tensor.shape[-1],
            tensor._version,
            is_transposed(module),
        )
        # The tensor is kept until the end: its memory must not become another input's.
        inputs.setdefault(key, (tensor, []))[1].append(module)

    hooks = [linear.register_forward_pre_hook(watch) for linear in linears]
    try:
        yield
        for tensor, modules in inputs.values():
            read(tensor, modules)
    finally:
        for hook in hooks:
            hook.remove()


def is_transposed(linear: nn.Module) -> bool:
    """Whether a linear keeps its weight as (d_in, d_out)."""
    from torch import nn

    return not isinstance(linear, nn.Linear)
