"""Checkpoints: every dtype and layout that is read, and every error."""

from __future__ import annotations

import fnmatch
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecomp.checkpoint import CheckpointError, open_checkpoint
from edgecomp.checkpoint.hub import is_hub_id


def read_all(folder: Path) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    checkpoint = open_checkpoint(str(folder))
    return {
        entry.name: checkpoint.source(entry.name).read(0, entry.n_weights).reshape(entry.shape)
        for entry in checkpoint.tensors
    }


def refused(model: Path | str) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(str(model))
    error = caught.value
    assert error.hint
    assert "\n" not in str(error) + error.hint
    return error


def test_shipped_model_equals_what_the_safetensors_library_reads(bookworm: Path) -> None:
    from safetensors.torch import load_file

    expected = load_file(bookworm / "model.safetensors")
    found = read_all(bookworm)
    assert sorted(found) == sorted(expected)
    for name, array in found.items():
        assert array.dtype == np.float32
        assert np.array_equal(array, expected[name].float().numpy())
    checkpoint = open_checkpoint(str(bookworm))
    assert checkpoint.name == "bookworm"
    assert checkpoint.n_weights == 6_819_072
    assert checkpoint.n_bytes == 2 * 6_819_072
    assert checkpoint.tokenizer == bookworm / "tokenizer.json"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_dtypes_are_read_exactly_in_pieces(tmp_path, model_writer, dtype) -> None:
    values = np.linspace(-3, 3, 36, dtype=np.float32).reshape(4, 9)
    halves = (values.view(np.uint32) >> 16).astype(np.uint16)
    stored = {"float32": values, "float16": values.astype(np.float16), "bfloat16": halves}[dtype]
    expected = {
        "float32": values,
        "float16": values.astype(np.float16).astype(np.float32),
        "bfloat16": (halves.astype(np.uint32) << 16).view(np.float32),
    }[dtype].ravel()
    folder = model_writer(tmp_path / "m", {"before": np.ones(3, np.float32), "w": stored})
    source = open_checkpoint(str(folder)).source("w")
    assert source.shape == (4, 9)
    for first, count in ((0, 36), (0, 1), (35, 1), (5, 17), (3, 0)):
        piece = source.read(first, count)
        assert piece.dtype == np.float32
        assert np.array_equal(piece, expected[first : first + count])


def test_shards_hold_the_same_model_as_one_file(tmp_path, model_writer, tensors) -> None:
    single = open_checkpoint(str(model_writer(tmp_path / "one", tensors)))
    sharded = open_checkpoint(str(model_writer(tmp_path / "three", tensors, n_shards=3)))
    assert [entry.name for entry in single.tensors] == [entry.name for entry in sharded.tensors]
    assert len(sharded.shards) == 3
    one, three = read_all(single.folder), read_all(sharded.folder)
    assert all(np.array_equal(one[name], three[name]) for name in one)


def test_identical_tied_head_is_left_out(tmp_path, model_writer, tensors) -> None:
    head = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].copy()}
    checkpoint = open_checkpoint(str(model_writer(tmp_path / "tied", head)))
    assert "lm_head.weight" not in {entry.name for entry in checkpoint.tensors}
    assert "tied to model.embed_tokens.weight" in checkpoint.notes[0]
    assert checkpoint.n_weights == sum(array.size for array in tensors.values())


def test_head_is_kept_when_it_differs_or_is_not_tied(tmp_path, model_writer, tensors) -> None:
    same = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"]}
    untied = open_checkpoint(
        str(model_writer(tmp_path / "untied", same, tie_word_embeddings=False))
    )
    assert "lm_head.weight" in {entry.name for entry in untied.tensors}
    assert untied.notes == ()
    other = tensors["model.embed_tokens.weight"].copy()
    other[-1, -1] += 1
    differs = open_checkpoint(
        str(model_writer(tmp_path / "differs", tensors | {"lm_head.weight": other}))
    )
    assert "lm_head.weight" in {entry.name for entry in differs.tensors}
    assert "kept" in differs.notes[0]


def test_encoders_and_convolutions_are_read_too(tmp_path, model_writer) -> None:
    folder = model_writer(
        tmp_path / "conv",
        {
            "conv.weight": np.ones((4, 3, 3, 3), np.float32),
            "bn.num_batches_tracked": np.array(7, np.int64),
            "embeddings.position_ids": np.arange(5)[None],
            "scale": np.array(2.0, np.float32),
        },
        model_type="resnet",
    )
    checkpoint = open_checkpoint(str(folder))
    assert [(e.name, e.shape) for e in checkpoint.tensors] == [
        ("conv.weight", (4, 3, 3, 3)),
        ("scale", ()),
    ]
    assert len(checkpoint.notes) == 2
    assert checkpoint.source("scale").read(0, 1).tolist() == [2.0]


def test_missing_shard(tmp_path, model_writer, tensors) -> None:
    folder = model_writer(tmp_path / "m", tensors, n_shards=2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors is missing" in str(refused(folder))


def test_tensor_missing_from_its_shard(tmp_path, model_writer, tensors) -> None:
    folder = model_writer(tmp_path / "m", tensors, n_shards=2)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["ghost"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(content))
    assert "tensor ghost is missing" in str(refused(folder))


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/passwd", "a/b", "..", "a\\b", 7])
def test_index_may_not_leave_the_folder(tmp_path, model_writer, tensors, shard) -> None:
    folder = model_writer(tmp_path / "m", tensors, n_shards=2)
    (tmp_path / "model.safetensors").write_bytes(b"")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": shard}}))
    assert "expected a file of the same folder" in str(refused(folder))


@pytest.mark.parametrize("dtype", [np.float64, np.int8, np.int64])
def test_other_dtypes_are_refused(tmp_path, model_writer, dtype) -> None:
    folder = model_writer(tmp_path / "m", {"layer.weight": np.ones((2, 2), dtype)})
    assert "layer.weight has dtype" in str(refused(folder))


def test_empty_tensor_is_refused(tmp_path, model_writer) -> None:
    folder = model_writer(tmp_path / "m", {"layer.weight": np.ones((0, 2), np.float32)})
    assert "no weights" in str(refused(folder))


def test_every_truncation_is_refused(tmp_path, model_writer) -> None:
    folder = model_writer(tmp_path / "m", {"w": np.ones((2, 3), np.float16)})
    whole = (folder / "model.safetensors").read_bytes()
    for length in range(len(whole)):
        (folder / "model.safetensors").write_bytes(whole[:length])
        refused(folder)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"[]", "not a JSON object"),
        (b"{", "not valid JSON"),
        (b'{"w": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}', "4 bytes behind"),
        (
            b'{"v": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},'
            b' "w": {"dtype": "F16", "shape": [1], "data_offsets": [2, 4]}}',
            "overlaps",
        ),
        (b'{"w": {"dtype": "F16", "shape": [1], "data_offsets": [2, 4]}}', "hole"),
        (
            b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},'
            b' "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
            "twice",
        ),
        (
            b'{"w": {"dtype": "F32", "shape": [' + b"9" * 4001 + b'], "data_offsets": [0, 4]}}',
            "impossible shape",
        ),
        ('{"w": 1}'.encode("utf-16"), "not valid JSON"),
        (b'{"w": 1}', "lacks dtype"),
        (b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}', "truncated"),
        (b'{"w": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}', "data_offsets"),
        (b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', "expected 8"),
        (b'{"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', "shape"),
        (b'{"w": {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 4]}}', "shape"),
        (b'{"w": {"dtype": "F4", "shape": [1], "data_offsets": [0, 4]}}', "dtype F4"),
    ],
)
def test_broken_headers(tiny: Path, header: bytes, reason: str) -> None:
    file = len(header).to_bytes(8, "little") + header + bytes(4)
    (tiny / "model.safetensors").write_bytes(file)
    assert reason in str(refused(tiny))


def test_folder_without_config_or_weights(tmp_path: Path, tiny: Path) -> None:
    (tiny / "config.json").rename(tiny / "other.json")
    assert "no config.json" in str(refused(tiny))
    (tiny / "config.json").write_text("{")
    assert "not JSON" in str(refused(tiny))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no model.safetensors" in str(refused(empty))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "weights.pt"])
def test_pickles_are_not_opened(tiny: Path, name: str) -> None:
    (tiny / "model.safetensors").rename(tiny / name)
    error = refused(tiny)
    assert "pickle" in str(error)
    assert "save_pretrained" in error.hint


def test_several_files_need_an_index(tiny: Path) -> None:
    shutil.copy(tiny / "model.safetensors", tiny / "a.safetensors")
    (tiny / "model.safetensors").rename(tiny / "b.safetensors")
    assert "no model.safetensors.index.json" in str(refused(tiny))
    (tiny / "a.safetensors").unlink()
    assert len(open_checkpoint(str(tiny)).tensors) == 20


def test_paths_are_not_taken_for_hub_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("./missing", "../missing/model", "a/b/c", "missing", "/no/such", "~/missing",
                 "tiny/missing", "a\\b", "model/"):  # fmt: skip
        assert not is_hub_id(path)
        assert "no folder" in str(refused(path))
    assert is_hub_id("HuggingFaceTB/SmolLM2-135M")
    assert "is a file" in str(refused(tiny / "config.json"))


class FakeHub:
    """huggingface_hub's snapshot_download: copies what is asked for out of a folder."""

    def __init__(self, source: Path, cache: Path) -> None:
        self.source, self.cache = source, cache
        self.asked: list[tuple[str | None, list[str]]] = []

    def __call__(self, hub_id: str, revision: str | None, allow_patterns: list[str]) -> str:
        self.asked.append((revision, allow_patterns))
        self.cache.mkdir(exist_ok=True)
        for file in filter(Path.is_file, self.source.rglob("*")):
            name = file.relative_to(self.source).as_posix()
            if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (self.cache / name).parent.mkdir(exist_ok=True)
                shutil.copy(file, self.cache / name)
        return str(self.cache)


def test_hub_failures_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(hub_id: str, revision: str | None, allow_patterns: list[str]) -> str:
        raise OSError("first line\nsecond line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    error = refused("owner/name")
    assert "owner/name could not be downloaded: first line" in str(error)


@pytest.mark.parametrize("n_shards", [1, 3])
def test_hub_id_downloads_what_the_index_names(
    monkeypatch, tmp_path, model_writer, tensors, n_shards: int
) -> None:
    import huggingface_hub

    source = model_writer(tmp_path / "source", tensors, n_shards)
    (source / "tokenizer.json").write_text("{}")
    for other in ("consolidated.safetensors", "onnx/model.safetensors", "model.bin"):
        (source / other).parent.mkdir(exist_ok=True)
        (source / other).write_bytes(b"large")
    hub = FakeHub(source, tmp_path / "0123abcd")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    checkpoint = open_checkpoint("owner/name")
    assert checkpoint.name == "owner/name"
    assert {entry.name for entry in checkpoint.tensors} == set(tensors)
    weights = {path.name for path in hub.cache.rglob("*.safetensors")}
    assert weights == {path.name for path in checkpoint.shards}
    assert len(weights) == n_shards
    assert checkpoint.tokenizer == hub.cache / "tokenizer.json"
    assert [revision for revision, _ in hub.asked] == [None, "0123abcd"]
    assert not any("safetensors" in name for name in hub.asked[0][1] if "index" not in name)


def test_hub_index_may_not_name_patterns(monkeypatch, tmp_path, model_writer, tensors) -> None:
    import huggingface_hub

    source = model_writer(tmp_path / "source", tensors, 2)
    (source / "x.safetensors").write_bytes(b"")
    index = {"weight_map": {"w": "*.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    hub = FakeHub(source, tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    assert "shard *.safetensors is missing" in str(refused("owner/name"))
    assert not list(hub.cache.glob("*.safetensors"))
