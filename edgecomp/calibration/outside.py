"""The weights outside of a network's blocks, read when a module is run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgecomp.calibration.skeleton import Skeleton
from edgecomp.calibration.weights import read_rows, read_tensor
from edgecomp.checkpoint import Checkpoint

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["OutsideWeights", "outside_weights"]


@dataclass
class OutsideWeights:
    """Embeddings, norms and head of a skeleton: its own parameters stay on the meta device."""

    checkpoint: Checkpoint
    skeleton: Skeleton
    device: torch.device
    names: Mapping[torch.Tensor, str]  # the checkpoint's name of each of the skeleton's tensors
    meta: dict[nn.Module, dict[str, Any]] = field(default_factory=dict)  # what is loaded now

    def load_buffers(self) -> None:
        """Reads the buffers that the checkpoint holds; they are small and stay."""
        for module in self.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer in self.names:
                    stored = read_tensor(self.checkpoint, self.names[buffer], self.device)
                    module._buffers[name] = stored

    def release(self) -> None:
        """Frees what was read."""
        for module, parameters in self.meta.items():
            module._parameters.update(parameters)
        self.meta.clear()

    @contextlib.contextmanager
    def on_demand(self) -> Iterator[None]:
        """Inside, every module outside of the blocks has its weights when it is run."""
        hooks = [
            module.register_forward_pre_hook(self.load)
            for module in self.modules()
            if module._parameters
        ]
        try:
            with embedding_rows(self):
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def modules(self) -> Iterator[nn.Module]:
        """The modules outside of the blocks, embeddings left out."""
        from torch import nn

        inside = f"{self.skeleton.blocks_path}."
        for path, module in self.skeleton.network.named_modules():
            if not path.startswith(inside) and not isinstance(module, nn.Embedding):
                yield module

    def load(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Reads the module's own parameters, before it is run."""
        from torch import nn

        del args
        if module in self.meta:
            return
        parameters = {name: own for name, own in module._parameters.items() if own is not None}
        for name, own in parameters.items():
            weights = read_tensor(self.checkpoint, self.stored_name(own), self.device)
            module._parameters[name] = nn.Parameter(weights, requires_grad=False)
        self.meta[module] = parameters

    def stored_weight(self, module: nn.Module) -> str:
        """The checkpoint's name of a module's weight."""
        return self.stored_name((module._parameters | self.meta.get(module, {}))["weight"])

    def stored_name(self, parameter: torch.Tensor) -> str:
        """The checkpoint's name of a parameter of the skeleton."""
        return self.names[parameter]

    def rows(self, tokens: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
        """The embeddings of tokens int64 (...): float32 (..., d)."""
        import torch

        used, places = torch.unique(tokens.cpu(), return_inverse=True)
        rows = read_rows(self.checkpoint, self.stored_name(parameter), used.numpy())
        return rows[places].to(self.device)


def outside_weights(
    checkpoint: Checkpoint, skeleton: Skeleton, device: torch.device
) -> OutsideWeights:
    """The weights outside of a skeleton's blocks, none of them read yet."""
    tensors = skeleton.network.state_dict(keep_vars=True)
    names = {tensor: skeleton.tensors[name] for name, tensor in tensors.items()}
    return OutsideWeights(checkpoint, skeleton, device, names)


def embedding_rows(weights: OutsideWeights) -> contextlib.AbstractContextManager[object]:
    """Inside, a look-up in a matrix that is not in memory reads the rows that it needs."""
    from torch.nn import functional
    from torch.overrides import TorchFunctionMode

    class RowsOnDemand(TorchFunctionMode):
        """Stands in for the embedding function, whichever module calls it."""

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func is functional.embedding and args[1].device.type == "meta":
                return weights.rows(args[0], args[1])
            return func(*args, **(kwargs or {}))

    return RowsOnDemand()
