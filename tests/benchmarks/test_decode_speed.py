"""The race against llama.cpp: models, aims, and its output with what stands for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import build_llama_cpp
import gguf
import numpy as np
import pytest
import random_llama
import random_llama_cpp
from gguf.quants import dequantize
from random_llama import EMBEDDING, Shape
from random_llama_cpp import MIXES, SCALES, Type
from speed_aims import AIMS, Aim, Sample, aim_rows

from edgecomp.checkpoint.hyperparameters import hyperparameters
from edgecomp.encode import TrellisSettings
from edgecomp.encode.settings.trellis import StateBits
from exporters.gguf import open_container
from runtime_ops import RawFormat, TrellisFormat, native

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "decode_speed.py"
TINY = Shape(n_layers=9, d_model=256, d_ff=768, n_heads=4, n_kv_heads=1, n_vocab=96)
# The types that llama-quantize gave a model of 9 layers: head, embedding, attn_v of layers 0 and 8,
# attn_output, ffn_down of layers 0 and 8, ffn_up.
CHOSEN = {
    "Q4_0": "Q6_K Q4_0 Q4_0 Q4_0 Q4_0 Q4_0 Q4_0 Q4_0",
    "Q4_K": "Q6_K Q4_K Q5_K Q4_K Q4_K Q5_K Q4_K Q4_K",
    "Q2_K": "Q6_K Q2_K Q4_K Q4_K Q2_K Q4_K Q2_K Q2_K",
    "IQ2_XXS": "Q5_K Q2_K Q4_K Q4_K IQ2_XXS Q2_K IQ2_XXS IQ2_XXS",
    "IQ1_S": "Q5_K Q2_K Q4_K Q4_K IQ2_XXS Q2_K IQ1_S IQ1_S",
    "Q8_0": "Q8_0 Q8_0 Q8_0 Q8_0 Q8_0 Q8_0 Q8_0 Q8_0",
}
LOOKED_AT = (
    "output", "token_embd", "blk.0.attn_v", "blk.8.attn_v", "blk.4.attn_output",
    "blk.0.ffn_down", "blk.8.ffn_down", "blk.0.ffn_up",
)  # fmt: skip


def root_mean_square(weights: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    return float(np.sqrt(np.square(weights.astype(np.float64)).mean()))


def test_shapes_are_about_half_and_one_billion() -> None:
    sizes = {name: shape.n_weights / 1e9 for name, shape in random_llama.SHAPES.items()}
    assert sizes["0.5B"] == pytest.approx(0.527, abs=0.001)
    assert sizes["1.1B"] == pytest.approx(1.1, abs=0.001)
    assert all(shape.d_model == 2048 for shape in random_llama.SHAPES.values())


@pytest.mark.parametrize("state_bits", [8, 12])
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_container_is_complete(bits: int, state_bits: StateBits, tmp_path: Path) -> None:
    """It opens, its digests hold, its formats are those of the settings, its weights are finite."""
    settings = TrellisSettings(bits, state_bits)
    path = tmp_path / "random.gguf"
    random_llama.write_random_container(path, "tiny", TINY, settings)
    with open_container(path) as container:
        assert [entry.name for entry in container.tensors] == sorted(dict(TINY.tensors()))
        for key, value in hyperparameters(TINY.config()).items():
            assert container.metadata[f"edgecomp.model.{key}"] == pytest.approx(value)
        assert container.verify() == []
        for entry in container.tensors:
            assert entry.shape == dict(TINY.tensors())[entry.name]
            if isinstance(entry.format, RawFormat):
                continue
            assert isinstance(entry.format, TrellisFormat)
            outer = entry.name in (EMBEDDING, random_llama.HEAD)
            assert entry.format.step_bits == bits + outer
            assert entry.format.rotation == 256
            # Above 4 bits there are tables for 4096 states only.
            assert entry.format.state_bits == (12 if bits + outer > 4 else state_bits)
        weights = native.decode(container.read("model.layers.0.mlp.down_proj.weight"))
    assert root_mean_square(weights) == pytest.approx(1 / np.sqrt(768), rel=0.1)


@pytest.mark.parametrize("kind", SCALES)
def test_random_blocks_have_the_wanted_size(kind: Type) -> None:
    matrix = random_llama_cpp.random_matrix("name", (64, 1024), kind)
    weights = dequantize(matrix, kind)
    assert weights.shape == (64, 1024)
    assert root_mean_square(weights) == pytest.approx(1 / 32, rel=0.1)
    assert abs(float(weights.mean())) < 0.1 / 32


@pytest.mark.parametrize("name", MIXES)
def test_peer_file_reads_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / "random.gguf"
    random_llama_cpp.write_random_gguf(path, "tiny", TINY, MIXES[name])
    assert [each.name for each in tmp_path.iterdir()] == ["random.gguf"]
    reader = gguf.GGUFReader(path)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    found = [tensors[f"{each}.weight"].tensor_type.name for each in LOOKED_AT]
    assert " ".join(found) == CHOSEN[name]
    expected = {random_llama_cpp.file_name(each): sides for each, sides in TINY.tensors()}
    assert {each: tuple(t.shape[::-1].tolist()) for each, t in tensors.items()} == expected
    field = reader.get_field("llama.attention.head_count_kv")
    assert field is not None
    assert field.contents() == 1
    down = tensors["blk.8.ffn_down.weight"]
    again = random_llama_cpp.random_matrix(down.name, (256, 768), down.tensor_type)
    assert np.array_equal(down.data, again)


def samples(threads: int, rates: dict[tuple[str, str], list[float]], share: float) -> list[Sample]:
    """Samples of one model; prefill is ten times as fast as generation."""
    return [
        Sample(number, "1.1B", threads, *named, 10 * found, found, share)
        for named, each in rates.items()
        for number, found in enumerate(each)
    ]


def test_ratios_are_medians_beside_the_faster_peer() -> None:
    rates = {
        ("llama.cpp", "Q4_0"): [10.0, 20.0, 10.0],
        ("llama.cpp", "Q4_K"): [20.0, 10.0, 10.0],
        ("edgecomp", "4 bits, L 12"): [30.0, 20.0, 15.0],
    }
    aims = (Aim(4, ("Q4_0", "Q4_K"), "generate", 1.0), Aim(4, ("Q4_0",), "prefill", 1.6))
    rows = aim_rows(samples(2, rates, 0.5), aims)
    assert [row["ratio"] for row in rows] == [1.5, 1.5]  # of 1.5, 1, 1.5 and of 3, 1, 1.5
    assert [row["lowest"] for row in rows] == [1.0, 1.0]
    assert [row["met"] for row in rows] == ["met", "missed"]
    assert [row["beside"] for row in rows] == ["Q4_0 or Q4_K", "Q4_0"]
    assert all(row["threads"] == 2 and row["system"] == "ratio" for row in rows)


@pytest.mark.parametrize(("share", "met"), [(0.5, "missed"), (0.95, "met")])
def test_two_bits_may_be_at_the_bandwidth(share: float, met: str) -> None:
    """Each beside the 4 bits of its own state bits, where these were measured."""
    rates = {
        ("edgecomp", "4 bits, L 8"): [20.0],
        ("edgecomp", "2 bits, L 8"): [25.0],
        ("edgecomp", "2 bits, L 12"): [99.0],
    }
    rows = aim_rows(samples(1, rates, share))
    assert [(row["format"], row["ratio"], row["met"]) for row in rows] == [
        ("2 bits, L 8", 1.25, met)
    ]


def test_aims_are_the_promised_ones() -> None:
    """Those of the design's race, each with its least ratio."""
    generate = [(aim.bits, aim.others_text, aim.least) for aim in AIMS if aim.stage == "generate"]
    assert generate == [
        (4, "Q4_0 or Q4_K", 1.0),
        (2, "Q2_K", 1.3),
        (2, "IQ2_XXS", 3.0),
        (1, "IQ1_S", 2.5),
        (2, "4 bits", 1.5),
    ]
    prefill = [(aim.bits, aim.others_text, aim.least) for aim in AIMS if aim.stage == "prefill"]
    assert prefill == [(bits, "Q4_0", 0.5) for bits in (4, 3, 2, 1)]
    assert [aim.others_text for aim in AIMS if aim.or_bandwidth] == ["4 bits"]


def test_build_uses_what_the_processor_has_but_amx() -> None:
    old = frozenset({"sse4_2", "avx", "avx2", "fma", "f16c", "bmi2"})
    new = old | {"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw", "avx512_vnni"}
    new |= {"amx_int8", "amx_tile", "amx_bf16"}
    found = [set(build_llama_cpp.processor_options("x86_64", flags)) for flags in (old, new)]
    for options in found:
        assert {"-DGGML_NATIVE=OFF", "-DGGML_AMX_INT8=OFF", "-DGGML_AVX2=ON"} <= options
        assert {"-DGGML_AMX_TILE=OFF", "-DGGML_AMX_BF16=OFF", "-DGGML_BMI2=ON"} <= options
    assert found[1] - found[0] == {"-DGGML_AVX512=ON", "-DGGML_AVX512_VNNI=ON"}
    assert build_llama_cpp.processor_options("aarch64", frozenset()) == ["-DGGML_NATIVE=ON"]


# What stands for the programs: rates that tell prefill, generation and threads apart.
PEER = """#!/bin/sh
case "$*" in
  "-m "*.gguf" -t 1 -r 1 -o json -p 32 -n 0") echo '[{"avg_ts": 200.0}]';;
  "-m "*.gguf" -t 1 -r 1 -o json -p 0 -n 4 -d 16") echo '[{"avg_ts": 20.0}]';;
  *) echo "error: unknown: $*" >&2; exit 1;;
esac
"""
RUNNER = """#!/bin/sh
case "$*" in
  "bench "*.gguf" --threads 1 --rounds 1 --json --prefill 32 --generate 1") rates='150, 0';;
  "bench "*.gguf" --threads 1 --rounds 1 --json --prefill 16 --generate 4") rates='0, 40';;
  *) echo "error: unknown: $*" >&2; exit 1;;
esac
echo "{\\"prefill_tokens_per_second\\": ${rates%,*}, \\"generate_tokens_per_second\\": ${rates#*,}}"
"""
COMPILER = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\\ntest "$1 $2 $3" = "1 512 5" && echo 1000000000 7\\n' > "$2"
chmod +x "$2"
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with llama-bench, edgecomp-run and a compiler."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, text in {"llama-bench": PEER, "edgecomp-run": RUNNER, "cc": COMPILER}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def started(programs: Path, models: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """A quick race of one size, 0.5B, that has the tiny model's sides."""
    tiny = f"random_llama.SHAPES['0.5B'] = random_llama.{TINY!r}"
    code = f"import random_llama, decode_speed; {tiny}; decode_speed.main()"
    arguments = ["--quick", "--threads", "1", "--sizes", "0.5B", "--models", str(models)]
    arguments += ["--peer", str(programs), "--runner", str(programs / "edgecomp-run"), *more]
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=SCRIPT.parent,
        env={"CC": str(programs / "cc"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_race_prints_its_rows(programs: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    done = started(programs, models, "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    printed = json.loads(done.stdout)
    assert set(printed) == {"machine", "commit", "rows"}
    fields = {
        "model", "system", "format", "settings", "threads", "file_bytes",
        "prefill_tokens_per_second",
        "generate_tokens_per_second", "bytes_per_second", "share",
    }  # fmt: skip
    rows = [row for row in printed["rows"] if row["system"] != "ratio"]
    assert all(set(row) == fields for row in rows)
    ours = [f"{bits} bits, L 12" for bits in (4, 3, 2, 1)]
    assert [row["format"] for row in rows] == [*MIXES, *ours, "read"]
    for row in rows[:-1]:
        rates = (row["prefill_tokens_per_second"], row["generate_tokens_per_second"])
        assert rates == ((150, 40) if row["system"] == "edgecomp" else (200, 20))
        assert (row["model"], row["threads"]) == ("0.5B", 1)
        assert row["bytes_per_second"] < row["file_bytes"] * rates[1]
        assert row["share"] == pytest.approx(row["bytes_per_second"] / 1e9)
    assert rows[-1]["bytes_per_second"] == 1e9
    written = {row["file_bytes"] for row in rows[:-1]}
    assert written == {path.stat().st_size for path in models.iterdir()}
    ratios = [row for row in printed["rows"] if row["system"] == "ratio"]
    assert [row["ratio"] for row in ratios] == [2, 2, 2, 2, 1, 0.75, 0.75, 0.75, 0.75]
    assert [row["met"] for row in ratios[:5]] == ["met", "met", "missed", "missed", "missed"]


def test_race_of_one_side_keeps_its_models(programs: Path, tmp_path: Path) -> None:
    """Models that are there stay, and without ratios there is one table."""
    models = tmp_path / "models"
    assert started(programs, models, "--only", "llama.cpp").returncode == 0
    before = {path.name: path.stat().st_mtime_ns for path in models.iterdir()}
    done = started(programs, models, "--only", "llama.cpp")
    assert done.returncode == 0
    assert "IQ1_S" in done.stdout
    assert "ratio" not in done.stdout
    assert {path.name: path.stat().st_mtime_ns for path in models.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "script", "said"),
    [
        ("llama-bench", None, "llama-bench cannot be run: No such file or directory"),
        ("edgecomp-run", "#!/bin/sh\necho 'error: no model' >&2; exit 1\n", "1: error: no model"),
        ("cc", None, "cc cannot be run: No such file or directory"),
    ],
)
def test_missing_programs_are_named(
    name: str, script: str | None, said: str, programs: Path, tmp_path: Path
) -> None:
    if script is None:
        (programs / name).unlink()
    else:
        (programs / name).write_text(script)
    done = started(programs, tmp_path / "models")
    assert (done.returncode, done.stdout) == (1, "")
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("error: ")
    assert error.endswith(said)
    assert hint.startswith("hint: ")
