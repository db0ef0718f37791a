"""Coded models: what they decode to, and that nothing is lost in their file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from edgecomp.crvq.coded_model import CodedModel, CodedTensor, load_coded, save_coded
from tests.edgecomp.crvq.coded_tensors import random_coded, random_model

CPU = torch.device("cpu")
SHAPES = [(3, 16), (5, 20), (1, 9), (4, 64)]


def decoded_by_hand(tensor: CodedTensor, books: list[Tensor]) -> Tensor:
    """The weights, one number after the other."""
    rows, columns = tensor.shape
    weights = torch.zeros(rows, columns)
    for r in range(rows):
        for j in range(columns):
            for stage in tensor.stages:
                dim = books[stage.codebook].shape[1]
                group, place = divmod(j - stage.first, dim)
                if 0 <= group < stage.codes.shape[1]:
                    code = int(stage.codes[r, group])
                    weights[r, tensor.order[j]] += books[stage.codebook][code, place]
            weights[r, tensor.order[j]] *= tensor.scales[r]
    return weights


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("critical", ["codebooks", "scalar"])
@pytest.mark.parametrize("n_critical", [0, 8])
def test_decode(shape: tuple[int, int], critical: str, n_critical: int) -> None:
    tensor = random_coded("w", shape, n_critical=n_critical, critical=critical)
    model = random_model(tensor, critical=critical)
    expected = decoded_by_hand(tensor, model.codebooks["g"])
    torch.testing.assert_close(model.decode("w"), expected)
    assert tensor.shape == shape


def same(a: CodedModel, b: CodedModel) -> bool:
    if set(a.tensors) != set(b.tensors) or set(a.codebooks) != set(b.codebooks):
        return False
    for name, one in a.tensors.items():
        other = b.tensors[name]
        fields = ("name", "group", "n_critical")
        if any(getattr(one, field) != getattr(other, field) for field in fields):
            return False
        if not (torch.equal(one.order, other.order) and torch.equal(one.scales, other.scales)):
            return False
        for x, y in zip(one.stages, other.stages, strict=True):
            if (x.codebook, x.first) != (y.codebook, y.first) or not torch.equal(x.codes, y.codes):
                return False
            if x.codes.dtype != y.codes.dtype:
                return False
    books = [
        torch.equal(x, y)
        for group in a.codebooks
        for x, y in zip(a.codebooks[group], b.codebooks[group], strict=True)
    ]
    vectors = [torch.equal(vector, b.vectors[name]) for name, vector in a.vectors.items()]
    return all(books) and all(vectors) and set(a.vectors) == set(b.vectors)


@pytest.mark.parametrize("critical", ["codebooks", "scalar"])
def test_file_holds_the_model(tmp_path: Path, critical: str) -> None:
    tensors = [
        random_coded("model.layers.1.a.weight", (3, 16), "kind", critical=critical),
        random_coded("model.layers.0.a.weight", (3, 20), "kind", 0, critical=critical),
        random_coded("b|codebook|0", (2, 24), "b", critical=critical),
    ]
    model = random_model(*tensors, critical=critical)
    model.vectors = {"norm.weight": torch.randn(7), "b.bias": torch.randn(2)}
    path = tmp_path / "coded.safetensors"
    save_coded(model, path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    loaded = load_coded(path, CPU)
    assert same(model, loaded)
    assert list(model.tensors) == list(loaded.tensors)
    for name in model.tensors:
        assert torch.equal(model.decode(name), loaded.decode(name))


def test_tensors_that_share_memory_are_saved(tmp_path: Path) -> None:
    """Matrices with the same input have one order, rows of a view are not contiguous."""
    one, other = random_coded("a", (4, 16)), random_coded("b", (4, 16))
    other.order = one.order
    one.scales = torch.rand(8)[::2]
    model = random_model(one, other)
    save_coded(model, tmp_path / "coded")
    assert same(model, load_coded(tmp_path / "coded", CPU))


def test_empty_models(tmp_path: Path) -> None:
    save_coded(CodedModel(vectors={"v": torch.ones(2)}), tmp_path / "coded")
    loaded = load_coded(tmp_path / "coded", CPU)
    assert (loaded.tensors, loaded.codebooks) == ({}, {})
    assert torch.equal(loaded.vectors["v"], torch.ones(2))


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    names = [f"model.layers.{i}.a.weight" for i in range(12)]
    model = random_model(*[random_coded(name, (2, 8), name) for name in names])
    contents = set()
    for i in range(5):
        save_coded(model, tmp_path / str(i))
        contents.add((tmp_path / str(i)).read_bytes())
    assert len(contents) == 1


def test_part_and_update() -> None:
    first = random_coded("a", (3, 16), "x")
    second, third = random_coded("b", (3, 16), "x"), random_coded("c", (3, 8), "y")
    model = random_model(first, second, third)
    part = model.part(["b"])
    assert list(part.tensors) == ["b"]
    assert list(part.codebooks) == ["x"]
    assert part.tensors["b"] is second
    part.tensors["b"] = random_coded("b", (3, 16), "x", n_critical=0)
    part.codebooks["x"] = [book * 2 for book in part.codebooks["x"]]
    part.vectors = {"norm": torch.ones(3)}
    before = model.decode("a")
    model.update(part)
    assert model.tensors["b"].n_critical == 0
    assert model.tensors["a"] is first
    torch.testing.assert_close(model.decode("a"), 2 * before)
    assert list(model.vectors) == ["norm"]
