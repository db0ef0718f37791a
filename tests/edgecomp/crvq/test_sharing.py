"""Which tensors share codebooks."""

from __future__ import annotations

import pytest
import torch

from edgecomp.crvq import sharing
from edgecomp.crvq.columns import ColumnPlan
from edgecomp.crvq.linears import Linears
from edgecomp.crvq.sharing import (
    Sharing,
    choose_sharing,
    codebook_bits,
    group_names,
    measured_sharing,
    sample,
)
from edgecomp.crvq.start import groups_of
from edgecomp.encode import CrvqSettings
from edgecomp.tuning.names import block_of, kind_of

SETTINGS = CrvqSettings(dim=4, codebook_bits=4, critical=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plans_of(linears: Linears) -> dict[str, ColumnPlan]:
    return {
        name: ColumnPlan(name, torch.arange(site.columns), ())
        for site in linears.sites
        for name in site.tensors
    }


def measured(linears: Linears) -> list[Sharing]:
    return measured_sharing(linears, plans_of(linears), seeded(), lambda name, i: None)


def test_names() -> None:
    name = "model.layers.12.mlp.up_proj.weight"
    assert (block_of(name), kind_of(name)) == ("12", "model.layers.mlp.up_proj.weight")
    assert (block_of("lm_head.weight"), kind_of("lm_head.weight")) == ("", "lm_head.weight")
    experts = "h.3.experts.4.w"
    assert (block_of(experts), kind_of(experts)) == ("3", "h.experts.4.w")
    names = [name, "model.layers.2.mlp.up_proj.weight", "model.layers.2.mlp.down_proj.weight"]
    assert group_names(names, "tensor") == {each: each for each in names}
    assert set(group_names(names, "model").values()) == {"model"}
    kinds = group_names(names, "kind")
    assert kinds[names[0]] == kinds[names[1]] != kinds[names[2]]


def test_groups_hold_every_tensor_once(linears_of) -> None:
    linears = linears_of(SETTINGS)
    for share, n_groups in (("tensor", 14), ("kind", 7), ("model", 1)):
        groups = groups_of(linears, share)
        assert len(groups) == n_groups
        assert sorted(name for each in groups.values() for name in each) == sorted(linears.names)


def test_small_equal_matrices_share_all(linears_of) -> None:
    """3072 weights are not worth 2048 bits of codebooks each."""
    found = measured(linears_of(SETTINGS))
    assert [each.share for each in found] == ["model", "kind", "tensor"]
    assert found[0].bpw < found[1].bpw < found[2].bpw
    bits = 4 * 8 << 4
    weights = 2 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 96)
    assert found[0].bpw == bits / weights
    assert found[2].bpw == 14 * bits / weights
    assert found[0].loss == pytest.approx(found[1].loss, rel=0.15)  # all weights are Gaussian
    assert 0 < found[0].loss < 1


def test_kinds_that_differ_get_their_own(linears_of) -> None:
    """Signs of one kind and rare spikes of the others: a common codebook fits neither."""
    changed = {}
    plain = linears_of(SETTINGS)
    for i, name in enumerate(plain.names):
        shape = plain.weight(name).shape
        if "mlp" in name:
            changed[name] = torch.randn(shape, generator=seeded(i)).sign()
        else:
            spikes = torch.rand(shape, generator=seeded(i)) < 0.1
            changed[name] = spikes * torch.randn(shape, generator=seeded(i + 99)).sign()
    found = measured(linears_of(SETTINGS, changed))
    assert found[0].share == "kind"
    losses = {each.share: each.loss for each in found}
    assert losses["kind"] < 0.7 * losses["model"]


def test_common_codebooks_are_never_better_than_own_ones(linears_of) -> None:
    """With matrices of unequal energy as well: the loss is one ratio for the whole model."""
    plain = linears_of(SETTINGS)
    changed = {name: plain.weight(name).clone() for name in plain.names}
    changed[plain.names[3]] = 30 * changed[plain.names[3]]
    losses = {way.share: way.loss for way in measured(linears_of(SETTINGS, changed))}
    assert losses["tensor"] < 1.02 * losses["kind"]
    assert losses["kind"] < 1.02 * losses["model"]


def test_large_matrices_get_their_own(linears_of, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more weights share than SHARED_WEIGHTS; with one way left nothing is measured."""
    assert Sharing("x", 0.25, 1.0).score == pytest.approx(0.0)  # 4^-1 is what a bit brings
    assert Sharing("x", 0.0, 1.0).score < -40
    linears = linears_of(SETTINGS)
    monkeypatch.setattr(sharing, "SHARED_WEIGHTS", 2 * 32 * 96)
    assert [way.share for way in measured(linears)] == ["kind", "tensor"]
    assert choose_sharing(linears, plans_of(linears), seeded(), lambda name, i: None) == "kind"
    monkeypatch.setattr(sharing, "SHARED_WEIGHTS", 2 * 32 * 96 - 1)

    def refuse(name: str, i: int) -> None:
        raise AssertionError("measured")

    assert choose_sharing(linears, plans_of(linears), seeded(), refuse) == "tensor"


def test_samples_do_not_hold_the_matrices_that_they_come_from() -> None:
    part = sample(torch.randn(64, 512), torch.eye(512), 8, seeded())
    for tensor in (part.target, part.metric, part.scales):
        assert tensor.untyped_storage().nbytes() == 4 * tensor.numel()


def test_bits_of_codebooks() -> None:
    assert codebook_bits(CrvqSettings(critical=0)) == 256 * 8 * 8
    assert codebook_bits(CrvqSettings(critical_codes="scalar")) == 256 * 8 * 8
    assert codebook_bits(CrvqSettings(extended=1, dim=4, codebook_bits=4)) == 2 * 16 * 4 * 8


@pytest.mark.parametrize(("rows", "columns"), [(3, 20), (1, 8), (2, 5), (1, 1)])
def test_samples_of_odd_matrices(rows: int, columns: int) -> None:
    x = torch.randn(50, columns, generator=seeded())
    hessian = x.T @ x / 50 + torch.eye(columns)
    weight = torch.randn(rows, columns, generator=seeded(1))
    part = sample(weight, hessian, 8, seeded())
    groups = max(1, columns // 8)
    assert part.target.shape == (rows, 8 * groups)
    assert part.metric.shape == (groups, 8, 8)
    for g in range(columns // 8):
        inside = slice(8 * g, 8 * g + 8)
        assert torch.equal(part.metric[g], hessian[inside, inside])
    kept = min(columns, 8 * groups)
    assert sorted(part.target.norm(dim=1).tolist()) == pytest.approx(
        sorted(weight[:, :kept].norm(dim=1).tolist())
    )


def test_zero_matrices(linears_of) -> None:
    plain = linears_of(SETTINGS)
    changed = {name: torch.zeros_like(plain.weight(name)) for name in plain.names}
    found = measured(linears_of(SETTINGS, changed))
    assert found[0].share == "model"
    assert all(way.loss == 0 for way in found)
