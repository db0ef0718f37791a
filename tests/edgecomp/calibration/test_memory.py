"""The memory of a calibration is that of one block, not of the model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# A tiny calibration first, so that what torch and transformers need themselves is not counted.
CHILD = """
import json, re, sys, tempfile
from pathlib import Path
from edgecomp import pipeline
from edgecomp.calibration import CalibrateSettings

def resident(kind):
    found = re.search(kind + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024

tiny, large, text = sys.argv[1:]
settings = CalibrateSettings(windows=8, context=32, device="cpu")
with tempfile.TemporaryDirectory() as folder:
    pipeline.calibrate(tiny, text, Path(folder) / "tiny", settings)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = resident("VmRSS")
    pipeline.calibrate(large, text, Path(folder) / "large", settings)
    print(json.dumps({"peak": resident("VmHWM") - before}))
"""
WIDTH = 384
BLOCKS = 40


@pytest.mark.slow
def test_memory_is_that_of_one_block(llama: Path, text: Path, tmp_path: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=BLOCKS, vocab_size=48,
        num_attention_heads=4, max_position_embeddings=32,
    )  # fmt: skip
    large = tmp_path / "large"
    LlamaForCausalLM(config).to(torch.float32).save_pretrained(large)
    (large / "tokenizer.json").write_bytes((llama / "tokenizer.json").read_bytes())
    block_bytes = 4 * 7 * WIDTH**2
    assert (large / "model.safetensors").stat().st_size > BLOCKS * block_bytes
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(llama), str(large), str(text)],
        check=True,
        capture_output=True,
        text=True,
        # glibc gives freed memory back at once; otherwise it may keep 150 MB, of any model.
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"},
    )
    peak = json.loads(child.stdout)["peak"]
    sums_bytes = 8 * 4 * WIDTH**2  # four inputs of a block, in float64
    print(f"peak {peak / 1e6:.1f} MB, a block {block_bytes / 1e6:.1f} MB")
    # Beside them: one product, a mean, a tensor as it is read, the network without weights.
    assert peak < 3 * (block_bytes + sums_bytes) < BLOCKS * block_bytes / 4
