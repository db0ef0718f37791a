"""A linear that multiplies by decoded weights, so that tables and scales can be tuned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Generic

import torch
from torch import Tensor, nn

from edgecomp.tuning.tunable import T, TunableModel

__all__ = ["CodedLinear", "coded_linears"]

SMALLEST_SCALE = 1e-30  # stands for 0, whose logarithm does not exist; such rows stay 0


class CodedLinear(nn.Module, Generic[T]):
    """y = V x + b with V decoded from a coded tensor at every call.

    Parameters are the logarithm of the row scales and the codebooks, which other linears may share.
    After a backward pass `pull` is the gradient of the loss by the weights in stored order.
    `latent`, float32 (rows, columns), stands in for V where codes are still to be made.
    """

    def __init__(self, tensor: T, books: nn.ParameterList, bias: Tensor | None) -> None:
        super().__init__()
        self.tensor = tensor
        self.books = books
        self.bias = bias
        self.log_scales = nn.Parameter(tensor.scales.clamp(min=SMALLEST_SCALE).log())
        self.pull: Tensor | None = None
        self.latent: nn.Parameter | None = None

    @property
    def scales(self) -> Tensor:
        """The row scales, float32 (rows,)."""
        alive = (self.tensor.scales > 0).to(self.log_scales.dtype)
        return self.log_scales.exp() * alive

    def set_scales(self, scales: Tensor) -> None:
        """Takes other row scales, float32 as the tensor's."""
        self.tensor.scales = scales.to(self.log_scales.device)
        with torch.no_grad():
            self.log_scales.copy_(self.tensor.scales.clamp(min=SMALLEST_SCALE).log())

    def forward(self, x: Tensor) -> Tensor:
        """The product, float32 (..., rows), for x (..., columns)."""
        if self.latent is not None:
            return nn.functional.linear(x, self.latent, self.bias)
        stored = self.tensor.stored(self.scales, list(self.books))
        if stored.requires_grad:
            stored.register_hook(self.keep)  # type: ignore[no-untyped-call]  # torch has none
        return self.tensor.product(x, stored, self.bias)

    def keep(self, gradient: Tensor) -> None:
        """Remembers the gradient by the stored weights."""
        self.pull = gradient


@contextmanager
def coded_linears(
    network: nn.Module, coded: TunableModel[T], names: Mapping[str, str]
) -> Iterator[dict[str, CodedLinear[T]]]:
    """A network whose linears are replaced by coded ones; by tensor name. Undone at the end.

    `names` has the tensor's name of every parameter of the network, such as
    `mlp.up_proj.weight`. When the block ends, scales and codebooks as they are then are taken over
    into `coded`.
    """
    books = {
        group: nn.ParameterList([nn.Parameter(book.clone()) for book in each])
        for group, each in coded.codebooks.items()
    }
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    made: dict[str, CodedLinear[T]] = {}
    for path, linear in list(network.named_modules()):
        name = names.get(f"{path}.weight")
        if name is None or name not in coded.tensors or not isinstance(linear, nn.Linear):
            continue
        tensor = coded.tensors[name]
        made[name] = CodedLinear(tensor, books[tensor.group], linear.bias)
        parent = network.get_submodule(path.rpartition(".")[0])
        replaced.append((parent, path.rpartition(".")[2], linear))
        setattr(parent, path.rpartition(".")[2], made[name])
    try:
        yield made
    finally:
        for parent, leaf, linear in replaced:
            setattr(parent, leaf, linear)
        for name, module in made.items():
            coded.tensors[name].scales = module.scales.detach().clone()
        for group, each in books.items():
            coded.codebooks[group] = [book.detach().clone() for book in each]
