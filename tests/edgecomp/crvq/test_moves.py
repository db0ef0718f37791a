"""Codes that move: the nearest codeword to where a group wants to be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgecomp.crvq import moves
from edgecomp.crvq.coded_model import CodedTensor
from edgecomp.crvq.moves import SHARE, CodeMover, move_codes
from edgecomp.tuning.coded_linear import CodedLinear
from tests.edgecomp.crvq.coded_tensors import random_coded, random_model


def linear_of(tensor: CodedTensor, critical: str = "codebooks", dim: int = 8) -> CodedLinear:
    model = random_model(tensor, critical=critical, dim=dim)
    books = nn.ParameterList([nn.Parameter(book) for book in model.codebooks["g"]])
    return CodedLinear(tensor, books, None)


def all_codes(linear: CodedLinear) -> list[Tensor]:
    return [stage.codes.clone() for stage in linear.tensor.stages]


def n_changed(before: list[Tensor], linear: CodedLinear) -> int:
    pairs = zip(before, linear.tensor.stages, strict=True)
    return sum(int((codes != stage.codes).sum()) for codes, stage in pairs)


def unit_of(linear: CodedLinear) -> Tensor:
    return linear.tensor.unit([book.detach() for book in linear.books])


@pytest.mark.parametrize(("columns", "group"), [(64, 0), (64, 5), (60, 7)])
def test_a_wish_for_a_codeword_is_granted(columns: int, group: int) -> None:
    linear = linear_of(random_coded("w", (4, columns), n_critical=0))
    book = linear.books[0].detach()
    old = int(linear.tensor.stages[0].codes[2, group])
    wanted = (old + 5) % 16
    shift = torch.zeros(4, columns)
    width = min(8, columns - 8 * group)
    shift[2, 8 * group : 8 * group + width] = (book[wanted] - book[old])[:width]
    if width < 8:  # what lies behind the last column is not wished for: it stays near
        book[wanted, width:] = book[old, width:]
    before = all_codes(linear)
    assert move_codes(linear, shift) == 1
    assert linear.tensor.stages[0].codes[2, group] == wanted
    assert n_changed(before, linear) == 1
    assert (shift == 0).all()


def test_only_a_share_of_the_groups_moves() -> None:
    linear = linear_of(random_coded("w", (50, 64), n_critical=0))
    shift = 10 * torch.randn(50, 64, generator=torch.Generator().manual_seed(0))
    lengths = shift.reshape(50, 8, 8).norm(dim=2)
    before = all_codes(linear)
    wished = shift.clone()
    moved = move_codes(linear, shift)
    n = int(SHARE * 400)
    assert n == 4
    assert 0 < moved <= n
    assert n_changed(before, linear) == moved
    cleared = (shift == 0).reshape(50, 8, 8).all(2)
    assert int(cleared.sum()) == n
    assert lengths[cleared].min() >= lengths[~cleared].max()
    kept = ~cleared.repeat_interleave(8, 1)
    assert torch.equal(shift[kept], wished[kept])


@pytest.mark.parametrize("critical", ["codebooks", "scalar"])
@pytest.mark.parametrize("columns", [32, 30])
def test_critical_groups_come_nearer_to_what_they_want(
    monkeypatch: pytest.MonkeyPatch, critical: str, columns: int
) -> None:
    monkeypatch.setattr(moves, "SHARE", 1.0)
    linear = linear_of(random_coded("w", (6, columns), n_critical=16, critical=critical), critical)
    old = unit_of(linear)
    shift = torch.randn(6, columns, generator=torch.Generator().manual_seed(3))
    wanted = old + shift
    before = all_codes(linear)
    moved = move_codes(linear, shift)
    assert moved == n_changed(before, linear) > 0
    stages = {s.codebook for s, b in zip(linear.tensor.stages, before, strict=True)
              if not torch.equal(s.codes, b)}  # fmt: skip
    assert stages == ({0, 1} if critical == "scalar" else {0, 1, 2})
    new = unit_of(linear)

    def distance(weights: Tensor) -> Tensor:
        squares = torch.nn.functional.pad((weights - wanted) ** 2, (0, -columns % 8))
        return squares.reshape(6, -1, 8).sum(2)

    whole = slice(None, columns // 8)  # the last group's padding counts as well
    assert (distance(new)[:, whole] <= distance(old)[:, whole] + 1e-5).all()
    assert (shift == 0).all()
    if critical == "scalar":
        nearest = (wanted[:, :16, None] - linear.books[1][:, 0]).abs().amin(2)
        torch.testing.assert_close((new - wanted)[:, :16].abs(), nearest)


def test_extended_codes_move_alone() -> None:
    """A wish that one extended codeword grants leaves the basic code."""
    tensor = random_coded("w", (3, 32))
    linear = linear_of(tensor)
    basic, _, fine = tensor.stages
    book = linear.books[2].detach()
    with torch.no_grad():  # so far apart that no other choice is near
        linear.books[0].mul_(100)
        linear.books[1].mul_(10)
    wanted = (int(fine.codes[1, 0]) + 3) % 16
    shift = torch.zeros(3, 32)
    shift[1, :8] = book[wanted] - book[int(fine.codes[1, 0])]
    before = basic.codes.clone()
    assert move_codes(linear, shift) == 1
    assert fine.codes[1, 0] == wanted
    assert torch.equal(basic.codes, before)


def backward(linear: CodedLinear, factor: float) -> None:
    x = torch.randn(8, linear.tensor.shape[1], generator=torch.Generator().manual_seed(0))
    (factor * linear(x)).square().sum().backward()


def test_nothing_moves_without_a_gradient() -> None:
    linears = [
        linear_of(random_coded("w", (6, 32), critical="scalar"), "scalar"),
        linear_of(random_coded("w", (6, 30))),
    ]
    with torch.no_grad():
        for linear in linears:  # equal codewords are no reason to move either
            linear.books[0][3] = linear.books[0][7]
            linear.books[1][3] = linear.books[1][7]
            for stage in linear.tensor.stages:
                stage.codes.fill_(7)
    mover = CodeMover(linears, 0.5)
    before = [all_codes(linear) for linear in linears]
    for _ in range(3):
        for linear in linears:
            backward(linear, 0.0)
        mover.step(1.0)
        assert mover.moved == 0
    assert sum(map(n_changed, before, linears)) == 0


def test_steps_add_up_until_codes_move() -> None:
    linear = linear_of(random_coded("w", (8, 64), n_critical=0))
    mover = CodeMover([linear], 0.05)
    before = unit_of(linear)
    counted, changes = 0, 0
    for step in range(40):
        codes = all_codes(linear)
        backward(linear, 1.0)
        pull = linear.pull
        mover.step(1.0)
        assert linear.pull is None
        counted += mover.moved
        changes += n_changed(codes, linear)
        if step == 0:  # the first step is the sign of the gradient
            assert pull is not None
            shift = mover.wishes[0].shift
            moved = (shift != 0) & (shift.abs() < 1)
            assert torch.equal(shift[moved].sign(), -pull[moved].sign())
            torch.testing.assert_close(shift[moved].abs(), torch.full_like(shift[moved], 0.05))
    assert counted == changes > 0
    assert unit_of(linear).norm() < before.norm()  # the loss is least at 0


def test_no_step_without_rate_or_fade() -> None:
    linear = linear_of(random_coded("w", (8, 64), n_critical=0))
    mover = CodeMover([linear], 0.05)
    before = all_codes(linear)
    for _ in range(40):
        backward(linear, 1.0)
        mover.step(0.0)
    assert mover.moved == n_changed(before, linear) == 0


def test_rows_of_zeros_take_no_part() -> None:
    """Their codes mean nothing; the share of groups is for rows that are there."""
    tensor = random_coded("w", (40, 32), n_critical=0)
    tensor.scales[:39] = 0
    linear = linear_of(tensor)
    mover = CodeMover([linear], 1.0)
    dead = tensor.stages[0].codes[:39].clone()
    moved = 0
    for _ in range(5):
        before = tensor.stages[0].codes[39].clone()
        backward(linear, 1.0)
        mover.step(1.0)
        assert mover.moved == int((before != tensor.stages[0].codes[39]).sum())
        moved += mover.moved
    assert moved > 0
    assert torch.equal(dead, tensor.stages[0].codes[:39])
