"""A checkpoint larger than memory should be: compressed within 1 GB."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgecomp.checkpoint import open_checkpoint

PEAK_BYTES = 1_000_000_000
SHARD_BYTES = 600_000_000
HIDDEN = 4096
CHILD = """
import resource, sys
from edgecomp.cli import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr)
"""


def write_large(folder: Path, dtype: str, total_bytes: int) -> int:
    """Writes a sharded checkpoint with a 32000 x 4096 embedding; returns its weight bytes."""
    itemsize = {"F32": 4, "BF16": 2}[dtype]
    shapes = {"model.embed_tokens.weight": (32000, HIDDEN)}
    done = 32000 * HIDDEN * itemsize
    while done < total_bytes:
        shapes[f"model.layers.{len(shapes)}.mlp.up_proj.weight"] = (11008, HIDDEN)
        done += 11008 * HIDDEN * itemsize
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal(1 << 22) * 0.02).astype(np.float32)
    piece = noise.tobytes() if dtype == "F32" else (noise.view("<u4") >> 16).astype("<u2").tobytes()
    shards: list[dict[str, tuple[int, int]]] = [{}]
    filled = 0
    for name, shape in shapes.items():
        if filled > SHARD_BYTES:
            shards.append({})
            filled = 0
        shards[-1][name] = shape
        filled += shape[0] * shape[1] * itemsize
    weight_map = {}
    for i, shard in enumerate(shards):
        file_name = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        weight_map |= dict.fromkeys(shard, file_name)
        header = {}
        end = 0
        for name, shape in shard.items():
            start, end = end, end + shape[0] * shape[1] * itemsize
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        text = json.dumps(header).encode()
        with (folder / file_name).open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for first in range(0, end, len(piece)):
                file.write(piece[: end - first])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "total_bytes", "options"),
    [
        ("F32", 2_000_000_000, ["--preset", "paper"]),
        ("BF16", 500_000_000, ["--preset", "lattice", "--dim", "1"]),
    ],
)
def test_large_checkpoint_in_bounded_memory(
    tmp_path: Path, dtype: str, total_bytes: int, options: list[str]
) -> None:
    written = write_large(tmp_path, dtype, total_bytes)
    assert written >= total_bytes
    assert open_checkpoint(str(tmp_path)).n_bytes == written
    out = tmp_path / "m.gguf"
    command = [sys.executable, "-c", CHILD, "compress", str(tmp_path), *options, "-o", str(out)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    assert int(child.stderr.splitlines()[-1]) < PEAK_BYTES
