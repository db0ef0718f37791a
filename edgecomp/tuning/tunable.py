"""What tuning needs of a codec: coded linears with scales and tables, and how their codes move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from edgecomp.tuning.coded_linear import CodedLinear

__all__ = ["Codec", "CodedTensor", "Mover", "TunableModel", "TuneSettings"]


class CodedTensor(Protocol):
    """A linear's codes."""

    name: str
    group: str  # whose tables it uses
    scales: Tensor  # float32, of rows; 0 for rows of zeros

    def stored(self, scales: Tensor, tables: Sequence[Tensor]) -> Tensor:
        """The weights as they are stored, float (rows, columns)."""
        ...

    def decode(self, tables: Sequence[Tensor]) -> Tensor:
        """The linear's weights, float (rows, columns)."""
        ...

    def product(self, x: Tensor, stored: Tensor, bias: Tensor | None) -> Tensor:
        """y = W x + b, float (..., rows), of stored weights and x (..., columns)."""
        ...


T = TypeVar("T", bound=CodedTensor)


@dataclass
class TunableModel(Generic[T]):
    """All coded linears by name, their tables by group, and the vectors that tuning changed."""

    tensors: dict[str, T] = field(default_factory=dict)
    codebooks: dict[str, list[Tensor]] = field(default_factory=dict)
    vectors: dict[str, Tensor] = field(default_factory=dict)

    def decode(self, name: str) -> Tensor:
        """The weights of a linear, float (rows, columns)."""
        tensor = self.tensors[name]
        return tensor.decode(self.codebooks[tensor.group])

    def part(self, names: Iterable[str]) -> Self:
        """The model of some of its linears, with the codebooks that they use; nothing is copied."""
        tensors = {name: self.tensors[name] for name in names}
        groups = {tensor.group for tensor in tensors.values()}
        return type(self)(tensors, {group: self.codebooks[group] for group in sorted(groups)}, {})

    def update(self, other: Self) -> None:
        """Takes over everything that `other` has."""
        self.tensors |= other.tensors
        self.codebooks |= other.codebooks
        self.vectors |= other.vectors


class Mover(Protocol):
    """Moves codes between steps."""

    @property
    def held_steps(self) -> int:
        """Steps from the first one on for which rates stay as they are."""
        ...

    def rated(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters of its own that are tuned as well, with their rates."""
        ...

    def step(self, fade: float) -> None:
        """One step after a backward pass; `fade` 0..1 is the schedule's factor of the rate."""
        ...


class TuneSettings(Protocol):
    """What tuning reads of a codec's settings."""

    @property
    def finetune(self) -> Literal["none", "block", "end-to-end"]:
        """What is tuned."""
        ...

    @property
    def epochs(self) -> float:
        """How often the last tuning reads the text."""
        ...

    @property
    def block_epochs(self) -> float:
        """How often block tuning reads it."""
        ...

    @property
    def move_codes(self) -> bool:
        """Whether codes move."""
        ...

    @property
    def seed(self) -> int:
        """Of the order of the text."""
        ...


@dataclass(frozen=True)
class Codec(Generic[T]):
    """A codec's files, and its movers in tuning of blocks and of the whole model.

    A mover is made from the linears that it moves and the number of steps.
    """

    save: Callable[[TunableModel[T], Path], None]
    load: Callable[[Path, torch.device], TunableModel[T]]
    block_mover: Callable[[Sequence[CodedLinear[T]], int], Mover]
    model_mover: Callable[[Sequence[CodedLinear[T]], int], Mover]
