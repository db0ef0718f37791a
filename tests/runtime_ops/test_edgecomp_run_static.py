"""The programs of `make static`: every machine's text and weights are the same; their memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from random_llama import Shape, write_random_container

from edgecomp.encode import TrellisSettings
from tests.exporters.broken import GOLDEN
from tests.runtime_ops.edgecomp_run import STATIC, build, build_static, run
from tests.runtime_ops.tiny_llama import tiny_llama

PROMPT = "The end of the thing"
MOST_BYTES = 2_000_000  # of a program
# Beside the file and the keys and values, while text is generated.
OTHER_BYTES = 20_000_000
# About 200 million weights: a file that is larger than what else may be resident.
LARGE = Shape(n_layers=12, d_model=1024, d_ff=2816, n_heads=16, n_kv_heads=4, n_vocab=24_000)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return build("native", tmp_path_factory.mktemp("program"))


@pytest.mark.slow
@pytest.mark.parametrize("target", STATIC)
def test_every_machine_says_the_same(native: list[str], target: str, tmp_path: Path) -> None:
    program = build_static(target)
    model = tiny_llama(tmp_path / "tiny.gguf")
    for words in (
        ("run", model, "-p", PROMPT, "-n", 30, "--ignore-eos", "--tokens", "--quiet"),
        ("run", model, "-p", PROMPT, "-n", 30, "--temperature", 2, "--seed", 5, "--quiet"),
        ("run", model, "-p", PROMPT, "-n", 30, "--kv", "int8", "--tokens", "--quiet"),
        ("decode", GOLDEN, "trellis.a"),
        ("list", GOLDEN, "--json"),
        ("--help",),
        ("run", tmp_path),
    ):
        here, there = run(native, *words), run(program, *words)
        assert (there.returncode, there.stdout, there.stderr) == (
            here.returncode, here.stdout, here.stderr,
        ), words  # fmt: skip
        assert here.stdout or here.returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("target", STATIC)
def test_programs_need_nothing_else(target: str) -> None:
    """No interpreter, no shared library; segments that systems with pages of 16 KiB can load."""
    path = Path(build_static(target)[-1])
    file = path.read_bytes()
    assert len(file) < MOST_BYTES
    assert file[:4] == b"\x7fELF"
    wide = file[4] == 2
    start = int.from_bytes(file[32:40] if wide else file[28:32], "little")
    size, count = (file[54:58], 56) if wide else (file[42:46], 32)
    n = int.from_bytes(size[2:4], "little")
    headers = [file[start + i * count : start + (i + 1) * count] for i in range(n)]
    kinds = [int.from_bytes(header[:4], "little") for header in headers]
    interpreter, dynamic, load = 3, 2, 1
    assert interpreter not in kinds
    assert dynamic not in kinds
    alignments = [
        int.from_bytes(header[-8:] if wide else header[-4:], "little")
        for header, kind in zip(headers, kinds, strict=True)
        if kind == load
    ]
    assert min(alignments) >= 16384


@pytest.mark.slow
def test_memory_beside_the_file(native: list[str], tmp_path: Path) -> None:
    path = tmp_path / "large.gguf"
    write_random_container(path, "large", LARGE, TrellisSettings(bits=2))
    assert path.stat().st_size > 50_000_000
    for kv in ("f16", "int8"):
        words = ("--prefill", 130, "--generate", 2, "--rounds", 1, "--threads", 2, "--kv", kv)
        row = json.loads(run(native, "bench", path, *words, "--json").stdout)
        most = row["file_bytes"] + row["kv_bytes"] + OTHER_BYTES
        assert row["work_bytes"] < row["peak_resident_bytes"] <= most, row
