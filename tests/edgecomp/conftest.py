"""Models for the tests: written by hand, so that the reader is not tested with itself."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecomp.cli.demo import shipped_model
from tests.edgecomp.command_line import Result, runner
from tests.edgecomp.crvq.small_models import save_small, write_text

Tensors = Mapping[str, NDArray[Any]]
DTYPES = {"float32": "F32", "float16": "F16", "uint16": "BF16", "float64": "F64", "int8": "I8",
          "int64": "I64"}  # fmt: skip
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16,
    "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 40, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True, "hidden_act": "silu",
    "bos_token_id": 0, "eos_token_id": [1, 2],
}  # fmt: skip


def safetensors_bytes(tensors: Tensors) -> bytes:
    """A safetensors file; uint16 arrays are written as bfloat16."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in tensors.items():
        first = len(data)
        data += array.tobytes()
        header[name] = {
            "dtype": DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [first, len(data)],
        }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def write_model(folder: Path, tensors: Tensors, n_shards: int = 1, **config: object) -> Path:
    """Writes a Hugging Face folder and returns it; several shards get an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    if n_shards == 1:
        (folder / "model.safetensors").write_bytes(safetensors_bytes(tensors))
        return folder
    names = list(tensors)
    weight_map = {}
    for i in range(n_shards):
        shard = f"model-{i + 1:05}-of-{n_shards:05}.safetensors"
        mine = {name: tensors[name] for name in names[i::n_shards]}
        (folder / shard).write_bytes(safetensors_bytes(mine))
        weight_map |= dict.fromkeys(mine, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def tiny_tensors(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """The float32 tensors of a Llama of CONFIG's sizes, without the head."""
    rng = np.random.default_rng(seed)
    shapes = {"model.embed_tokens.weight": (40, 16), "model.norm.weight": (16,)}
    for i in range(2):
        layer = f"model.layers.{i}."
        shapes |= {
            layer + "self_attn.q_proj.weight": (16, 16),
            layer + "self_attn.k_proj.weight": (8, 16),
            layer + "self_attn.v_proj.weight": (8, 16),
            layer + "self_attn.o_proj.weight": (16, 16),
            layer + "mlp.gate_proj.weight": (24, 16),
            layer + "mlp.up_proj.weight": (24, 16),
            layer + "mlp.down_proj.weight": (16, 24),
            layer + "input_layernorm.weight": (16,),
            layer + "post_attention_layernorm.weight": (16,),
        }
    return {
        name: (rng.standard_normal(shape) * 0.02 + (len(shape) == 1)).astype(np.float32)
        for name, shape in shapes.items()
    }


def to_bfloat16(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of float32 numbers: bfloat16, rounded toward zero."""
    return (array.view(np.uint32) >> 16).astype(np.uint16)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The folder of a tiny Llama in float32."""
    return write_model(tmp_path / "tiny", tiny_tensors())


@pytest.fixture
def model_writer() -> Callable[..., Path]:
    """`write_model`, for tests that need another model than `tiny`."""
    return write_model


@pytest.fixture
def tensors() -> dict[str, NDArray[np.float32]]:
    """The tensors of `tiny`."""
    return tiny_tensors()


@pytest.fixture
def bookworm() -> Path:
    """The folder of the shipped model."""
    return shipped_model()


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """The command line: `run("inspect", path)`."""
    return runner(monkeypatch, capsys)


@pytest.fixture(scope="session")
def small_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Llama of two blocks; nobody changes it."""
    return save_small(tmp_path_factory.mktemp("small") / "llama")


@pytest.fixture(scope="session")
def small_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of 16 windows of 32 tokens, and a rest."""
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="session")
def small_statistics(
    small_llama: Path, small_text: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The Llama's statistics over that text."""
    from edgecomp.calibration import CalibrateSettings, calibrate_checkpoint
    from edgecomp.checkpoint import open_checkpoint

    out = tmp_path_factory.mktemp("statistics") / "statistics"
    how = CalibrateSettings(512, 32, "cpu")
    calibrate_checkpoint(open_checkpoint(str(small_llama)), small_text, out, how)
    return out
