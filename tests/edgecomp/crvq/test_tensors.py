"""Coded models as tensors of a container: folded permutations, codebook types, tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgecomp.checkpoint import Checkpoint, open_checkpoint
from edgecomp.crvq.coded_model import CodedModel
from edgecomp.crvq.tensors import book_set, choose_dtype, coded_tensors, folds, tuned_vectors
from edgecomp.encode import CrvqSettings
from edgecomp.evaluation import build_model
from exporters.bundle import ModelBundle, TensorSource
from exporters.gguf import open_container, write_container
from runtime_ops.formats import ColumnsFormat, CrvqFormat, EncodedTensor
from runtime_ops.native import decode
from tests.edgecomp.crvq.coded_tensors import random_coded, random_model
from tests.edgecomp.crvq.small_models import save_small

SETTINGS = CrvqSettings(dim=8, codebook_bits=4, extended=2, codebook_dtype="int16")


def linears_in(checkpoint: Checkpoint) -> list[str]:
    return [e.name for e in checkpoint.tensors if e.name.endswith("_proj.weight")]


def coded_for(checkpoint: Checkpoint, critical: str = "codebooks") -> CodedModel:
    """Random codes for all linears; those that read the same have one order."""
    shapes = {entry.name: entry.shape for entry in checkpoint.tensors}
    tensors = []
    for name in linears_in(checkpoint):
        rows, columns = shapes[name]
        n_critical = 8 if "q_proj" in name or "mlp" in name else 0
        group = name.split(".")[2]
        coded = random_coded(name, (rows, columns), group, n_critical, critical)
        layer = int(name.split(".")[2])
        same_input = "down" if "down" in name else "o" if "o_proj" in name else name.split(".")[3]
        seed = 10 * layer + sum(map(ord, same_input))
        coded.order = torch.randperm(columns, generator=torch.Generator().manual_seed(seed))
        coded.scales *= 0.1
        tensors.append(coded)
    return random_model(*tensors, critical=critical)


def logits(checkpoint: Checkpoint, linears: dict[str, NDArray[np.float32]]) -> torch.Tensor:
    weights = [
        (entry.name, linears[entry.name] if entry.name in linears
         else checkpoint.source(entry.name).read(0, entry.n_weights).reshape(entry.shape))
        for entry in checkpoint.tensors
    ]  # fmt: skip
    network: Any = build_model("m", checkpoint.config, weights).network
    tokens = torch.arange(40)[None] % 47
    with torch.no_grad():
        found: torch.Tensor = network(input_ids=tokens).logits
    return found


def stored(
    coded: CodedModel, checkpoint: Checkpoint, settings: CrvqSettings = SETTINGS
) -> dict[str, EncodedTensor]:
    return dict(coded_tensors(coded, checkpoint, settings))


def unfolded(checkpoint: Checkpoint) -> Checkpoint:
    return replace(checkpoint, config={**checkpoint.config, "model_type": "another"})


@pytest.mark.parametrize("critical", ["codebooks", "scalar"])
def test_folding_does_not_change_the_network(
    small_llama: Path, critical: Literal["codebooks", "scalar"]
) -> None:
    checkpoint = open_checkpoint(str(small_llama))
    coded = coded_for(checkpoint, critical)
    settings = replace(SETTINGS, critical_codes=critical)
    with_folds = stored(coded, checkpoint, settings)
    without = stored(coded, unfolded(checkpoint), settings)
    for name, tensor in without.items():
        close = 2e-3 * float(coded.decode(name).abs().max())
        torch.testing.assert_close(
            torch.from_numpy(decode(tensor)), coded.decode(name), rtol=0, atol=close
        )
    for name in with_folds:
        same = decode(with_folds[name]).tobytes() == decode(without[name]).tobytes()
        assert same == ("mlp" not in name)
    found = logits(checkpoint, {name: decode(each) for name, each in with_folds.items()})
    expected = logits(checkpoint, {name: decode(each) for name, each in without.items()})
    assert float(expected.std()) > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_folded_tensors_carry_no_permutation(small_llama: Path) -> None:
    checkpoint = open_checkpoint(str(small_llama))
    coded = coded_for(checkpoint)
    assert folds(coded, checkpoint) == {
        f"model.layers.{i}.mlp.down_proj.weight": (
            f"model.layers.{i}.mlp.gate_proj.weight", f"model.layers.{i}.mlp.up_proj.weight"
        )
        for i in range(2)
    }  # fmt: skip
    for name, tensor in stored(coded, checkpoint).items():
        if "down_proj" in name:
            assert isinstance(tensor.format, CrvqFormat)
        else:
            assert isinstance(tensor.format, ColumnsFormat)
            assert tensor.format.order is not None
            assert tensor.format.order.tolist() == coded.tensors[name].order.tolist()
    for tensor in stored(coded, unfolded(checkpoint)).values():
        assert isinstance(tensor.format, ColumnsFormat)
    for each in coded.tensors.values():
        each.order = torch.arange(each.shape[1])
    for tensor in stored(coded, unfolded(checkpoint)).values():
        assert isinstance(tensor.format, CrvqFormat)


def test_what_is_not_folded(tmp_path: Path, small_llama: Path) -> None:
    biased = open_checkpoint(str(save_small(tmp_path / "biased", mlp_bias=True)))
    assert "model.layers.0.mlp.up_proj.bias" in {entry.name for entry in biased.tensors}
    assert folds(coded_for(biased), biased) == {}
    checkpoint = open_checkpoint(str(small_llama))
    coded = coded_for(checkpoint)
    del coded.tensors["model.layers.0.mlp.up_proj.weight"]
    assert list(folds(coded, checkpoint)) == ["model.layers.1.mlp.down_proj.weight"]
    assert folds(coded, unfolded(checkpoint)) == {}


def test_bounds_hold(small_llama: Path) -> None:
    """Of groups in stored order, against the original with rows and columns moved alike."""
    checkpoint = open_checkpoint(str(small_llama))
    coded = coded_for(checkpoint)
    for name, tensor in stored(coded, unfolded(checkpoint)).items():
        original = checkpoint.source(name).read(0, tensor.n_weights).reshape(tensor.shape)
        squares = (decode(tensor).astype(np.float64) - original) ** 2
        ordered = squares[:, coded.tensors[name].order.numpy()]
        groups = np.add.reduceat(ordered, np.arange(0, ordered.shape[1], 8), axis=1)
        assert tensor.error_bound == pytest.approx(np.sqrt(groups.max()), rel=1e-6)
    folded = stored(coded, checkpoint)["model.layers.0.mlp.down_proj.weight"]
    plain = stored(coded, unfolded(checkpoint))["model.layers.0.mlp.down_proj.weight"]
    assert folded.error_bound == plain.error_bound


def test_tables_are_in_the_file_once(small_llama: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(small_llama))
    coded = coded_for(checkpoint)
    assert {len(tensor.stages) for tensor in coded.tensors.values()} == {1, 3}
    for name, each in coded.tensors.items():  # q, k, v and gate, up: one order
        kind = name.split(".")[-2]
        each.order = torch.arange(each.shape[1]).roll(
            {"q_proj": 1, "k_proj": 1, "v_proj": 1, "o_proj": 2}.get(kind, 3)
        )
    tensors = stored(coded, checkpoint)
    bundle = ModelBundle(
        "m", tuple(TensorSource(n, lambda t=t: t) for n, t in tensors.items()), settings="{}"
    )
    write_container(bundle, tmp_path / "m.gguf")
    content = (tmp_path / "m.gguf").read_bytes()
    formats = {name: tensor.format for name, tensor in tensors.items()}
    orders, books = set(), set()
    for fmt in formats.values():
        if isinstance(fmt, ColumnsFormat):
            assert fmt.permutation is not None
            orders.add(fmt.permutation.data)
        plain = fmt.rest if isinstance(fmt, ColumnsFormat) else fmt
        assert isinstance(plain, CrvqFormat)
        books.add(plain.codebooks.data)
    assert (len(orders), len(books)) == (3, 2)  # codebooks of two groups
    for data in orders | books:
        assert content.count(data) == 1
    with open_container(tmp_path / "m.gguf") as container:
        assert container.verify() == []
        for name, tensor in tensors.items():
            assert container.read(name).format == tensor.format
            assert decode(container.read(name)).tobytes() == decode(tensor).tobytes()


def test_codebooks_that_no_tensor_uses_are_left_out() -> None:
    coded = random_model(random_coded("a", (4, 16)), random_coded("b", (4, 16), n_critical=0))
    main, scalar = book_set(coded, "g", SETTINGS)
    assert scalar is None
    assert len(main.shifts) == 3
    coded.tensors["a"].stages.pop()
    assert len(book_set(coded, "g", SETTINGS)[0].shifts) == 2
    del coded.tensors["a"]
    main, _ = book_set(coded, "g", SETTINGS)
    assert len(main.shifts) == 1
    assert main.table.array.size == coded.codebooks["g"][0].numel()


@pytest.mark.parametrize("dim", [1, 2, 8])
def test_codebook_sets_of_scalars(dim: int) -> None:
    """With dimension 1 the basic codebook and the one of critical scalars look alike."""
    coded = random_model(random_coded("a", (4, 16), critical="scalar", dim=dim), critical="scalar",
                         dim=dim)  # fmt: skip
    coded.codebooks["g"][0] = torch.randn(32, dim)
    settings = CrvqSettings(dim=dim, codebook_bits=5, critical_codes="scalar")
    main, scalar = book_set(coded, "g", settings)
    assert scalar is not None
    assert (main.dim, main.code_bits, len(main.shifts)) == (dim, 5, 1)
    assert (scalar.dim, scalar.code_bits, len(scalar.shifts)) == (1, 4, 1)


def test_codebook_types() -> None:
    auto = CrvqSettings(codebook_dtype="auto")
    rng = np.random.default_rng(0)
    plain = [rng.standard_normal((256, 8))]
    assert choose_dtype(plain, 10_000, auto) == "int8"
    spiked = [plain[0].copy()]
    spiked[0][0, 0] = 100.0  # the range of int8 is wasted on one number
    assert choose_dtype(spiked, 10_000, auto) == "int8"
    assert choose_dtype(spiked, 100_000_000, auto) == "int16"
    assert choose_dtype([np.zeros((256, 8))], 1, auto) == "int8"
    for wanted in ("int8", "int16"):
        assert choose_dtype(spiked, 1, CrvqSettings(codebook_dtype=wanted)) == wanted


def test_tuned_vectors() -> None:
    coded = CodedModel(vectors={"n": torch.ones(3, dtype=torch.float64)})
    found = tuned_vectors(coded)
    assert found["n"].dtype == np.float32
    assert found["n"].tolist() == [1, 1, 1]
