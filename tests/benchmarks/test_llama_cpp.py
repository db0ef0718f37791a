"""llama.cpp's file of a checkpoint, and how a build's tools are called: no llama.cpp is needed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import llama_cpp_file
import numpy as np
import pytest
from llama_cpp_file import PeerError

from edgecomp.checkpoint import Checkpoint, open_checkpoint

ROOT = Path(__file__).parents[2]
DATA = ROOT / "edgecomp" / "data"
Q = "model.layers.1.self_attn.q_proj.weight"
K = "model.layers.1.self_attn.k_proj.weight"
TYPES = (
    "Q8_0, Q6_K, Q5_K_M, Q4_K_M, IQ4_XS, Q4_0, Q3_K_M, IQ3_S, IQ3_XXS, Q2_K, "
    "IQ2_S, IQ2_XS, IQ2_XXS, IQ1_M, IQ1_S"
)
# What stands for a build: its imatrix is a file, its types are copies, F32 is a copy too.
TOOLS = {
    "llama-imatrix": 'test "$7 $8" = "-o importance.gguf" && test -s "$4" && echo x > "$8"',
    "llama-quantize": """case "$1 $5" in
      "--imatrix BAD") echo "main: invalid ftype 'BAD'"; echo "usage: ..."; exit 1;;
      "--imatrix "*) test -s "$2" && cp "$3" "$4";;
      "--allow-requantize "*) test "$4" = F32 && cp "$2" "$3";;
      *) exit 1;;
    esac""",
}


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return open_checkpoint(str(DATA / "bookworm"))


@pytest.fixture(scope="module")
def base(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.gguf"
    llama_cpp_file.write(path, checkpoint)
    return path


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with what stands for a build."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, script in TOOLS.items():
        tool = folder / name
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
    return folder


def weights_of(checkpoint: Checkpoint, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    source = checkpoint.source(name)
    return source.read(0, int(np.prod(source.shape))).reshape(source.shape)


def test_rows_are_interleaved_by_hand() -> None:
    rows = np.arange(8, dtype=np.float32)
    assert llama_cpp_file.interleave(rows, 1).tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    assert llama_cpp_file.interleave(rows, 2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@pytest.mark.parametrize("shape", [(12, 5), (24,), (8, 1)])
@pytest.mark.parametrize("heads", [0, 1, 2])
def test_permutation_round_trip(shape: tuple[int, ...], heads: int) -> None:
    rows = np.random.default_rng(0).standard_normal(shape, np.float32)
    there = llama_cpp_file.interleave(rows, heads)
    assert there.shape == shape
    assert (there.tobytes() == rows.tobytes()) == (heads == 0)
    assert llama_cpp_file.separate(there, heads).tobytes() == rows.tobytes()


def test_file_has_what_llama_cpp_asks_for(base: Path, checkpoint: Checkpoint) -> None:
    reader = gguf.GGUFReader(base)
    unsigned, real = gguf.GGUFValueType.UINT32, gguf.GGUFValueType.FLOAT32
    expected = {
        "general.architecture": ("llama", gguf.GGUFValueType.STRING),
        "llama.block_count": (6, unsigned),
        "llama.context_length": (512, unsigned),
        "llama.embedding_length": (256, unsigned),
        "llama.feed_forward_length": (768, unsigned),
        "llama.attention.head_count": (4, unsigned),
        "llama.attention.head_count_kv": (2, unsigned),
        "llama.attention.key_length": (64, unsigned),
        "llama.attention.value_length": (64, unsigned),
        "llama.attention.layer_norm_rms_epsilon": (pytest.approx(1e-6), real),
        "llama.rope.dimension_count": (64, unsigned),
        "llama.rope.freq_base": (10000.0, real),
        "llama.vocab_size": (8192, unsigned),
        "tokenizer.ggml.model": ("gpt2", gguf.GGUFValueType.STRING),
        "tokenizer.ggml.pre": ("gpt-2", gguf.GGUFValueType.STRING),
        "tokenizer.ggml.bos_token_id": (0, unsigned),
        "tokenizer.ggml.eos_token_id": (0, unsigned),
        "tokenizer.ggml.add_bos_token": (False, gguf.GGUFValueType.BOOL),
    }
    found = {key: (reader.fields[key].contents(), reader.fields[key].types[0]) for key in expected}
    assert found == expected
    assert len(reader.fields["tokenizer.ggml.tokens"].contents()) == 8192
    assert len(reader.fields["tokenizer.ggml.merges"].contents()) == 7935
    assert reader.fields["tokenizer.ggml.token_type"].types[1] == gguf.GGUFValueType.INT32
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == len(checkpoint.tensors)
    assert "output.weight" not in tensors  # tied to the embedding
    q = weights_of(checkpoint, Q)
    assert (tensors["blk.1.attn_q.weight"].data[[0, 1, 66]] == q[[0, 32, 64 + 1]]).all()


def test_written_weights_come_back_exactly(base: Path, checkpoint: Checkpoint) -> None:
    found = dict(llama_cpp_file.read(base, checkpoint))
    assert set(found) == {entry.name for entry in checkpoint.tensors}
    for name, weights in found.items():
        assert weights.tobytes() == weights_of(checkpoint, name).tobytes(), name


@pytest.mark.parametrize(
    ("kind", "bytes_per_block", "bound"),
    [
        (gguf.GGMLQuantizationType.F16, 64, 2.0**-11),
        (gguf.GGMLQuantizationType.Q8_0, 34, 0.5 / 127 + 2.0**-11),
    ],
)
def test_quantized_weights_come_back_close(
    kind: gguf.GGMLQuantizationType,
    bytes_per_block: int,
    bound: float,
    base: Path,
    checkpoint: Checkpoint,
    tmp_path: Path,
) -> None:
    """Quantised by gguf; `bound` is the largest error beside a block's largest weight.

    Q8_0 rounds codes to 1 / 127 of it, and the scale to float16.
    """
    path = tmp_path / "quantized.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for tensor in gguf.GGUFReader(base).tensors:
        if len(tensor.shape) > 1:
            data = gguf.quants.quantize(tensor.data, kind)
            writer.add_tensor(tensor.name, data, raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    sizes = llama_cpp_file.tensor_bytes(path, checkpoint)
    for name, weights in llama_cpp_file.read(path, checkpoint):
        original = weights_of(checkpoint, name)
        if original.ndim == 1:
            assert (sizes[name], weights.tobytes()) == (4 * original.size, original.tobytes())
            continue
        assert sizes[name] == original.size // 32 * bytes_per_block
        largest = np.abs(original.reshape(-1, 32)).max(axis=1)
        error = np.abs((weights - original).reshape(-1, 32)).max(axis=1)
        assert (error <= bound * largest + 2.0**-25).all(), name
        assert error.max() > 0


def test_bytes_of_types_that_gguf_does_not_know(
    base: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    data = bytearray(base.read_bytes())
    field = gguf.GGUFReader(base).tensors[2].field
    at = field.offset + sum(part.nbytes for part in field.parts[:4])
    data[at : at + 4] = (157).to_bytes(4, "little")
    path = tmp_path / "foreign.gguf"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="157"):
        gguf.GGUFReader(path)
    expected = {entry.name: 4 * entry.n_weights for entry in checkpoint.tensors}
    assert llama_cpp_file.tensor_bytes(path, checkpoint) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2', expected 'llama'"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "of type 'llama3', expected 'default'"),
        ({"rope_scaling": {"type": "linear"}}, "of type 'linear', expected 'default'"),
    ],
)
def test_other_networks_are_refused(
    changes: dict[str, object], message: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    config = {**checkpoint.config, **changes}
    with pytest.raises(PeerError, match=message):
        llama_cpp_file.write(tmp_path / "x", dataclasses.replace(checkpoint, config=config))
    assert list(tmp_path.iterdir()) == []


def test_tensors_without_a_place_are_refused(checkpoint: Checkpoint) -> None:
    odd = dataclasses.replace(checkpoint.tensors[0], name="model.layers.0.odd.weight")
    changed = dataclasses.replace(checkpoint, tensors=(odd,))
    with pytest.raises(PeerError, match=r"model\.layers\.0\.odd\.weight has no place"):
        llama_cpp_file.file_names(changed)


def test_builds_of_the_command_line(tmp_path: Path) -> None:
    found = llama_cpp.find_builds("llama.cpp", [f"ik={tmp_path}", f"b={tmp_path}:Q4_0,Q8_0"])
    assert [(build.name, build.types) for build in found] == [
        ("llama.cpp", tuple(TYPES.split(", "))),
        ("ik", ("IQ4_KT", "IQ3_KT", "IQ2_KT", "IQ1_KT")),
        ("b", ("Q4_0", "Q8_0")),
    ]
    assert found[0].folder == ROOT / "build" / "llama.cpp" / "bin"
    (moved,) = llama_cpp.find_builds("llama.cpp", [f"llama.cpp={tmp_path}"])
    assert (moved.folder, moved.types) == (tmp_path.resolve(), found[0].types)
    assert llama_cpp.find_builds("", []) == []


@pytest.mark.parametrize(
    ("peers", "other", "message"),
    [
        ("ollama", [], "--peers: 'ollama', expected llama.cpp"),
        ("", ["ik"], "--peer: 'ik', expected NAME=PATH"),
        ("", ["=x"], "--peer: '=x', expected NAME=PATH"),
        ("", ["a/b=x"], "--peer: 'a/b=x', expected NAME=PATH"),
        ("", ["ik="], "--peer: 'ik=', expected NAME=PATH"),
    ],
)
def test_builds_that_cannot_be_understood(peers: str, other: list[str], message: str) -> None:
    with pytest.raises(PeerError) as caught:
        llama_cpp.find_builds(peers, other)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["llama.cpp", "other"])
def test_tools_are_called_in_order(
    name: str, tools: Path, base: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """llama.cpp's files are read as they are; another build decodes its own."""
    (tmp_path / "base.gguf").hardlink_to(base)
    build = llama_cpp.Build(name, tools, ("A", "B"))
    text = DATA / "bookworm_calib.txt"
    kinds = []
    for file in llama_cpp.quantize(build, checkpoint, text, tmp_path):
        kinds.append((file.type, file.decoded.name))
        assert file.n_bytes == (tmp_path / "base.gguf").stat().st_size
        assert file.tensor_bytes[K] == 4 * 128 * 256
        found = dict(llama_cpp_file.read(file.decoded, checkpoint))
        assert found[K].tobytes() == weights_of(checkpoint, K).tobytes()
    decoded = "quantized.gguf" if name == "llama.cpp" else "decoded.gguf"
    assert kinds == [("A", decoded), ("B", decoded)]
    assert not list(tmp_path.rglob("quantized.gguf"))


def test_failing_tools_are_quoted(
    tools: Path, base: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    (tmp_path / "base.gguf").hardlink_to(base)
    build = llama_cpp.Build("other", tools, ("BAD",))
    with pytest.raises(PeerError) as caught:
        list(llama_cpp.quantize(build, checkpoint, DATA / "bookworm_calib.txt", tmp_path))
    assert str(caught.value) == "other: llama-quantize BAD failed: main: invalid ftype 'BAD'"
    assert "NAME=PATH:TYPE" in caught.value.hint


def test_missing_tools_are_named(base: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "base.gguf").hardlink_to(base)
    build = llama_cpp.Build("other", tmp_path / "nowhere", ("A",))
    with pytest.raises(PeerError, match="llama-imatrix cannot be run: No such file") as caught:
        list(llama_cpp.quantize(build, checkpoint, DATA / "bookworm_calib.txt", tmp_path))
    assert "build_llama_cpp.py" in caught.value.hint


def language_model(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A run of language_model.py on bookworm."""
    texts = ["--text", DATA / "bookworm_valid.txt", "--calibration", DATA / "bookworm_calib.txt"]
    script = ROOT / "benchmarks" / "language_model.py"
    command = [sys.executable, script, "--model", DATA / "bookworm", *texts, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_peers_have_rows(tools: Path) -> None:
    """What stands for a build loses nothing, so its row is the original's."""
    run = language_model("--json", "--windows", "2", "--peer", f"it={tools}:A", "--only", "it")
    assert run.returncode == 0, run.stderr[-2000:]
    original, peer = json.loads(run.stdout)["rows"]
    assert (peer["system"], peer["codec"], peer["settings"]) == ("it", "it", "A")
    assert (peer["kl"], peer["top1"], peer["ppl"]) == (0.0, 1.0, original["ppl"])
    assert peer["body_bpw"] == 32.0
    assert peer["bpw"] > 32.0


@pytest.mark.slow
def test_a_selection_of_nothing_is_refused() -> None:
    run = language_model("--only", "nothing")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.splitlines()[-2] == "error: --only nothing leaves no system"
