"""A checkpoint larger than memory should be: compressed within 1 GB, also after kill -9."""

from __future__ import annotations

import json
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecomp.checkpoint import open_checkpoint
from edgecomp.compression.workfolder import work_folder_path

PEAK_BYTES = 1_000_000_000
LARGE_BYTES = 2_000_000_000
SHARD_BYTES = 600_000_000
EMBEDDING = (32000, 4096)
MATRIX = (11008, 4096)
TRELLIS = ["--state-bits", "8", "--embedding-bits", "2"]
FASTEST = ["--dim", "2", "--generator", "golden", "--reach", "0"]
# Prints the peak on stderr: of this program alone, which ru_maxrss is not.
CHILD = """
import re, sys
from pathlib import Path
from edgecomp.cli import main
try:
    main()
finally:
    found = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    print(int(found[1]) * 1024, file=sys.stderr)
"""


def write_large(folder: Path, dtype: str, total_bytes: int, sigma: float = 0.02) -> int:
    """Writes a sharded checkpoint, an embedding and matrices; returns its weight bytes."""
    itemsize = {"F32": 4, "BF16": 2}[dtype]
    shapes = {"model.embed_tokens.weight": EMBEDDING}
    done = EMBEDDING[0] * EMBEDDING[1] * itemsize
    while done < total_bytes:
        shapes[f"model.layers.{len(shapes)}.mlp.up_proj.weight"] = MATRIX
        done += MATRIX[0] * MATRIX[1] * itemsize
    shards: list[dict[str, tuple[int, int]]] = [{}]
    filled = 0
    for name, shape in shapes.items():
        if filled > SHARD_BYTES:
            shards.append({})
            filled = 0
        shards[-1][name] = shape
        filled += shape[0] * shape[1] * itemsize
    noise = np.random.default_rng(0).standard_normal(1 << 22, np.float32) * np.float32(sigma)
    piece = noise.tobytes() if dtype == "F32" else (noise.view("<u4") >> 16).astype("<u2").tobytes()
    weight_map = {}
    for i, shard in enumerate(shards):
        file_name = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        weight_map |= dict.fromkeys(shard, file_name)
        write_shard(folder / file_name, shard, dtype, piece)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return done


def write_shard(path: Path, shapes: dict[str, tuple[int, int]], dtype: str, piece: bytes) -> None:
    """Writes a safetensors file whose data is `piece` again and again."""
    header = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + shape[0] * shape[1] * {"F32": 4, "BF16": 2}[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for first in range(0, end, len(piece)):
            file.write(piece[: end - first])


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """A folder for gigabytes, which pytest would keep."""
    folder = tmp_path / "large"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def compress(folder: Path, out: Path, options: list[str]) -> dict[str, Any]:
    """The report of a compression that stayed below PEAK_BYTES."""
    child = subprocess.run(
        command(folder, out, options), capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    peak = int(child.stderr.splitlines()[-1])
    print(f"peak {peak / 1e6:.0f} MB: {' '.join(options)}")
    assert peak < PEAK_BYTES
    return dict(json.loads(child.stdout))


def command(folder: Path, out: Path, options: list[str]) -> list[str]:
    """The command line that compresses a folder."""
    return [
        sys.executable,
        "-c",
        CHILD,
        "compress",
        str(folder),
        *options,
        "--json",
        "-o",
        str(out),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "sigma", "options", "codec"),
    [
        pytest.param("F32", 0.02, ["--preset", "paper"], "winding", id="paper"),
        pytest.param("F32", 1.0, ["--preset", "paper"], "raw", id="paper-raw"),
        pytest.param("BF16", 0.02, ["--preset", "lattice"], "winding", id="lattice"),
        pytest.param("BF16", 0.02, TRELLIS, "trellis", id="trellis"),
    ],
)
def test_large_tensor_in_bounded_memory(
    large: Path, dtype: str, sigma: float, options: list[str], codec: str
) -> None:
    write_large(large, dtype, 1, sigma)
    report = compress(large, large / "m.gguf", options)
    assert report["weights"] == EMBEDDING[0] * EMBEDDING[1]
    assert len(report["raw_tensors"]) == (codec == "raw")


@pytest.mark.slow
def test_large_checkpoint_killed_half_way(large: Path) -> None:
    """In bounded memory; after kill -9 it goes on, and the file is that of an unbroken run."""
    written = write_large(large, "F32", LARGE_BYTES)
    checkpoint = open_checkpoint(str(large))
    assert checkpoint.n_bytes == written >= LARGE_BYTES
    half = len(checkpoint.tensors) // 2
    whole = compress(large, large / "whole.gguf", FASTEST)
    out = large / "m.gguf"
    child = subprocess.Popen(
        command(large, out, FASTEST), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while len(list(work_folder_path(out).glob("*.gguf"))) < half and child.poll() is None:
        time.sleep(0.05)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert not out.exists()
    report = compress(large, out, FASTEST)
    assert half <= report["resumed_tensors"] < len(checkpoint.tensors)
    assert report["sha256"] == whole["sha256"]
    assert [path.name for path in large.glob(".*")] == []
