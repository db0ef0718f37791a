"""Models of trellis tensors: groups of tables, files, tensors of a container."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgecomp.encode import ArraySource
from edgecomp.encode.raw import encode_raw
from edgecomp.trellis.coded_model import (
    TrellisModel,
    encoded_tensors,
    load_model,
    model_of,
    save_model,
    table_of,
)
from edgecomp.tuning.tuner import TuningError
from runtime_ops import reference
from runtime_ops.formats import EncodedTensor
from tests.edgecomp.trellis.trellises import encoded, weights

CPU = torch.device("cpu")


def first_codes() -> dict[str, EncodedTensor]:
    return {
        "block.0.up.weight": encoded(weights((16, 32), 1)),
        "block.0.down.weight": encoded(weights((32, 64), 2), critical=0.25),
        "block.1.up.weight": encoded(weights((16, 32), 3), seed=5),
        "block.1.down.weight": encoded(weights((32, 64), 4), critical=0.25),
        "block.2.up.weight": encoded(weights((16, 32), 3), bits=1.0),
        "block.2.other.weight": encode_raw(ArraySource(weights((2, 2)))),
    }


def test_tensors_of_a_kind_share_their_tables() -> None:
    model = model_of(first_codes(), CPU)
    groups = {name: tensor.group for name, tensor in model.tensors.items()}
    assert "block.2.other.weight" not in groups
    assert groups["block.0.up.weight"] == groups["block.1.up.weight"]
    assert groups["block.0.down.weight"] == groups["block.1.down.weight"]
    assert len(set(groups.values())) == 3
    assert [len(model.codebooks[group]) for group in dict.fromkeys(groups.values())] == [1, 2, 1]


def test_tables_are_beside_the_standard_deviation() -> None:
    """Of normal weights scales are nearly their root mean square."""
    weight = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)
    model = model_of({"w": encoded(weight)}, CPU)
    found = model.tensors["w"].scales * 16  # the rotation's root
    torch.testing.assert_close(found, torch.ones(64), rtol=0.15, atol=0)
    fmt = model.tensors["w"].spans[0].format
    assert 0.9 < float(table_of(fmt).square().mean().sqrt()) < 1.3


def same(a: TrellisModel, b: TrellisModel) -> bool:
    pairs = [(a.decode(name), b.decode(name)) for name in a.tensors]
    pairs += [(a.vectors[name], b.vectors[name]) for name in a.vectors]
    return list(a.tensors) == list(b.tensors) and all(torch.equal(x, y) for x, y in pairs)


def test_file_holds_what_tuning_changes(tmp_path: Path) -> None:
    start, model = model_of(first_codes(), CPU), model_of(first_codes(), CPU)
    model.vectors["norm"] = torch.randn(4)
    for tensor in model.tensors.values():
        tensor.scales = tensor.scales * 2
        for i, span in enumerate(tensor.spans):
            tensor.set_codes(i, (span.codes.numpy() ^ 85).astype(np.uint8))
    for tables in model.codebooks.values():
        tables[0] = tables[0] + 1
    save_model(model, tmp_path / "model")
    save_model(model, tmp_path / "again")
    assert (tmp_path / "model").read_bytes() == (tmp_path / "again").read_bytes()
    before = {name: start.decode(name) for name in start.tensors}
    loaded = load_model(start, tmp_path / "model", CPU)
    assert same(model, loaded)
    assert not same(start, loaded)
    assert all(torch.equal(start.decode(name), value) for name, value in before.items())


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_scales_that_no_container_holds_are_named(factor: float) -> None:
    model = model_of(first_codes(), CPU)
    tensor = model.tensors["block.1.up.weight"]
    tensor.scales = tensor.scales * factor
    with pytest.raises(TuningError, match=r"tensor block\.1\.up\.weight: a scale of"):
        list(encoded_tensors(model))


@pytest.mark.parametrize("factor", [1.0, 0.37])
def test_tuned_tables_are_rounded_once_for_all_that_share_them(factor: float) -> None:
    model = model_of(first_codes(), CPU)
    for group, tables in model.codebooks.items():
        model.codebooks[group] = [factor * table + 0.01 for table in tables]
    tensors = dict(encoded_tensors(model))
    first, second = (tensors[f"block.{i}.up.weight"].format for i in (0, 1))
    assert first.table == second.table
    assert (first.seed, second.seed) == (0, 5)
    for name, tensor in tensors.items():
        found = torch.from_numpy(reference.decode(tensor).reshape(tensor.shape))
        error = (found - model.decode(name)).square().mean().sqrt()
        assert error < 0.01 * model.decode(name).square().mean().sqrt()
