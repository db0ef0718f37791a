"""Gradient steps on codebooks, scales and norms, with codes that move in between."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor, nn

from edgecomp.tuning.coded_linear import CodedLinear
from edgecomp.tuning.tunable import Mover, T

__all__ = ["Tuner", "TuningError", "batches"]

BOOK_RATE = 3e-3  # of codewords, in units of their codebook's root mean square
SCALE_RATE = 1e-2  # of the logarithm of row scales
VECTOR_RATE = 1e-4  # of norms and biases
BETAS = (0.9, 0.95)
WARM_UP = 5  # steps
LAST_RATE = 0.05  # of the first, by half a cosine


class TuningError(ValueError):
    """A tuning that cannot go on: the loss is not finite."""


@dataclass
class Tuner(Generic[T]):
    """Steps of Adam on the parameters of some linears and on vectors, over a schedule.

    `books` False leaves the codebooks as they are: those of other blocks use them too. Codes stay
    without a `mover`.
    """

    linears: Sequence[CodedLinear[T]]
    vectors: Sequence[nn.Parameter]
    n_steps: int
    books: bool = True
    mover: Mover | None = None

    def __post_init__(self) -> None:
        books = {id(book): book for linear in self.linears for book in linear.books}
        rated: list[tuple[list[nn.Parameter], float]] = [
            ([linear.log_scales for linear in self.linears], SCALE_RATE),
            (list(self.vectors), VECTOR_RATE),
        ]
        for book in books.values():
            book.requires_grad_(self.books)
            if self.books:
                rated.append(([book], BOOK_RATE * float(book.detach().square().mean().sqrt())))
        rated += self.mover.rated() if self.mover is not None else []
        for parameters, _ in rated:
            for parameter in parameters:
                parameter.requires_grad_(True)
        groups = [{"params": each, "lr": rate} for each, rate in rated if each]
        self.optimizer = torch.optim.Adam(groups, betas=BETAS)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.done = 0

    @property
    def fade(self) -> float:
        """The schedule's factor of all rates: warm-up, what the mover needs, then half a cosine."""
        warm = min(1.0, (self.done + 1) / WARM_UP)
        held = 0 if self.mover is None else self.mover.held_steps
        done, steps = max(0, self.done - held), max(1, self.n_steps - held)
        cosine = 0.5 * (1 + math.cos(math.pi * done / steps))
        return warm * (LAST_RATE + (1 - LAST_RATE) * cosine)

    def step(self, loss: Tensor) -> float:
        """One step down a loss, and its value; TuningError when it is not finite."""
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TuningError(f"the loss is {value} at step {self.done + 1} of {self.n_steps}")
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        fade = self.fade
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * fade
        self.optimizer.step()
        if self.mover is not None:
            self.mover.step(fade)
        self.done += 1
        return value


def batches(
    n_windows: int, batch: int, n_steps: int, generator: torch.Generator
) -> Iterable[Tensor]:
    """Windows of every step, int64 (at most batch,): all of them in a new order each time round."""
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(n_steps):
        if len(order) < min(batch, n_windows):
            order = torch.cat([order, torch.randperm(n_windows, generator=generator)])
        yield order[:batch]
        order = order[batch:]
