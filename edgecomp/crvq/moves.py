"""Codes that move while a model is tuned (PV-tuning, crvq.md 5.4 item 5).

Every step adds the direction of Adam, in units of a row's scale, to where a weight wants to be.
Then the few groups whose weights want to be farthest from where they are take the codeword that is
nearest to that, and start wanting anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from edgecomp.crvq.coded_model import CodedTensor
from edgecomp.encode.crvq.clusters import nearest
from edgecomp.tuning.coded_linear import CodedLinear

__all__ = ["CodeMover", "block_mover", "model_mover"]

# On bookworm, an epoch of 106 steps from the first codes: KL divergence on other text 0.304 with
# codes that stay, 0.288 at 0.05, 0.318 at 0.1 (too many of the moves are noise).
MODEL_RATE = 0.05
# A third of the whole model's: at 0.1 moves made bookworm's KL divergence worse, 0.56 from 0.47.
BLOCK_RATE = 0.03
SHARE = 0.01  # of a matrix's groups that are encoded again in a step
DECAY = 0.95  # of the mean of squared gradients


@dataclass
class Wish:
    """How far the weights of a matrix want to be moved, and the mean square of their gradients."""

    shift: Tensor  # (rows, columns), in units of the row's scale
    squares: Tensor


@dataclass
class CodeMover:
    """Moves the codes of some linears by steps of `rate`, in units of a row's scale.

    `moved` counts the codes of the last step.
    """

    linears: list[CodedLinear[CodedTensor]]
    rate: float
    steps: int = 0
    moved: int = 0
    wishes: list[Wish] = field(default_factory=list)

    @property
    def held_steps(self) -> int:
        """None: moves become rarer from the start."""
        return 0

    def rated(self) -> list[tuple[list[nn.Parameter], float]]:
        """No parameters: what codes want is not one."""
        return []

    def step(self, fade: float) -> None:
        """One step after a backward pass; `fade` 0..1 is the schedule's factor of the rate."""
        self.steps += 1
        self.moved = 0
        if not self.wishes:
            self.wishes = [
                Wish(torch.zeros_like(pull), torch.zeros_like(pull)) for pull in self.pulls()
            ]
        correction = 1 - DECAY**self.steps
        with torch.no_grad():
            for linear, pull, wish in zip(self.linears, self.pulls(), self.wishes, strict=True):
                wish.squares.mul_(DECAY).addcmul_(pull, pull, value=1 - DECAY)
                size = (wish.squares / correction).sqrt_().clamp_(min=1e-20)
                wish.shift.addcdiv_(pull, size, value=-self.rate * fade)
                self.moved += move_codes(linear, wish.shift)
                linear.pull = None  # as large as the weights

    def pulls(self) -> Iterable[Tensor]:
        """The gradients that the last backward pass left."""
        for linear in self.linears:
            assert linear.pull is not None, "a backward pass comes before a step"
            yield linear.pull


def block_mover(linears: Sequence[CodedLinear[CodedTensor]], n_steps: int) -> CodeMover:
    """Moves the codes of a block, however many steps there are."""
    return CodeMover(list(linears), BLOCK_RATE)


def model_mover(linears: Sequence[CodedLinear[CodedTensor]], n_steps: int) -> CodeMover:
    """Moves the codes of a whole model, however many steps there are."""
    return CodeMover(list(linears), MODEL_RATE)


def move_codes(linear: CodedLinear[CodedTensor], shift: Tensor) -> int:
    """Encodes the groups with the largest shift again and clears it; the number of moved codes.

    Rows of scale 0 take no part.
    """
    tensor = linear.tensor
    books = [book.detach() for book in linear.books]
    dim = max(books[stage.codebook].shape[1] for stage in tensor.stages)
    rows, columns = tensor.shape
    groups = -(-columns // dim)
    padded = torch.nn.functional.pad(shift, (0, groups * dim - columns)).reshape(rows, groups, dim)
    alive = (tensor.scales > 0).to(padded.dtype)
    lengths = (padded.square().sum(2) * alive[:, None]).reshape(-1)
    longest, picks = lengths.topk(max(1, int(SHARE * lengths.numel())))
    picks = picks[longest > 0]
    row, group = picks // groups, picks % groups
    cells = [
        (
            stage,
            books[stage.codebook],
            (group * dim - stage.first) // books[stage.codebook].shape[1],
        )
        for stage in tensor.stages
    ]
    parts = [
        decoded_cell(stage.codes, book, row, first, dim, group * dim >= stage.first)
        for stage, book, first in cells
    ]
    target = torch.stack(parts).sum(0) + padded[row, group]
    moved = 0
    total = torch.stack(parts).sum(0)
    for i, (stage, book, first) in enumerate(cells):
        width = book.shape[1]
        each = dim // width
        inside = (first >= 0) & (first + each <= stage.codes.shape[1])
        if not inside.any():
            continue
        r, f = row[inside], first[inside]
        wanted = (target - (total - parts[i]))[inside]
        codes = nearest(wanted.reshape(-1, width), book).reshape(-1, each)
        places = f[:, None] + torch.arange(each, device=f.device)
        moved += int((codes != stage.codes[r[:, None], places]).sum())
        stage.codes[r[:, None], places] = codes.to(stage.codes.dtype)
        part = parts[i].clone()
        part[inside] = book[codes].reshape(-1, dim)
        total += part - parts[i]
        parts[i] = part
    padded[row, group] = 0
    shift.copy_(padded.reshape(rows, -1)[:, :columns])
    return moved


def decoded_cell(
    codes: Tensor, book: Tensor, row: Tensor, first: Tensor, dim: int, behind: Tensor
) -> Tensor:
    """What a stage adds to some blocks, float (n, dim): zeros where it has no codes."""
    each = dim // book.shape[1]
    inside = behind & (first >= 0) & (first + each <= codes.shape[1])
    found = torch.zeros(len(row), dim).to(book)
    if inside.any():
        places = first[inside][:, None] + torch.arange(each, device=first.device)
        found[inside] = book[codes[row[inside][:, None], places].long()].reshape(-1, dim)
    return found
