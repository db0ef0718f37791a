"""`edgecomp latency` as its user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from devices.catalogue import profile_ids
from devices.profile_file import write_profile
from tests.devices.small_profile import small_cluster, small_profile
from tests.edgecomp.command_line import Result, assert_error, runner
from tests.runtime_ops.tiny_llama import tiny_llama

MODEL = Path(__file__).parents[3] / "edgecomp" / "data" / "bookworm"
Run = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


def test_one_device(cli: Run, tmp_path: Path) -> None:
    model = tiny_llama(tmp_path / "tiny.gguf")
    result = cli("latency", model, "--device", "pi5")
    assert result.code == 0
    assert "Raspberry Pi 5" in result.out
    assert "token behind 512" in result.out
    assert "memory" in result.out
    verbose = cli("latency", model, "--device", "pi5", "--verbose")
    assert verbose.out.startswith(result.out)
    assert "layer 1" in verbose.out


def test_json_has_what_the_table_has(cli: Run, tmp_path: Path) -> None:
    model = tiny_llama(tmp_path / "tiny.gguf")
    words = ("--device", "pi5", "--context", "100", "--threads", "3", "--prompt", "40")
    found = json.loads(cli("latency", model, *words, "--verbose", "--json").out)
    assert (found["threads"], found["context"], found["prompt"]) == (3, 100, 40)
    generate = found["generate"]
    assert generate["low_ms"] < generate["ms"] < generate["high_ms"]
    assert generate["per_second"] == pytest.approx(1000 / generate["ms"])
    assert sum(part["ms"] for part in generate["parts"]) == pytest.approx(generate["ms"])
    assert found["prefill"]["per_second"] == pytest.approx(40_000 / found["prefill"]["ms"])
    assert found["figures"] == "estimated"
    assert found["fits"]


def test_all_devices(cli: Run) -> None:
    """A model that is not compressed yet, at some bits, on every device that has a profile."""
    arguments = ("latency", MODEL, "--bits", "2", "--device", "all")
    table = cli(*arguments)
    assert table.code == 0
    assert len(table.out.splitlines()) == 1 + len(profile_ids())
    rows = json.loads(cli(*arguments, "--json").out)
    assert len({row["device"] for row in rows}) == len(rows) == len(profile_ids())
    many = json.loads(cli(*arguments, "--threads", "64", "--json").out)
    assert all(1 <= row["threads"] <= 64 for row in many)


def test_fewer_bits_where_memory_binds(cli: Run) -> None:
    times = []
    for codec, bits in (("uniform", "8"), ("uniform", "4")):
        words = ("--codec", codec, "--bits", bits, "--device", "pi5", "--json")
        times.append(json.loads(cli("latency", MODEL, *words).out)["resident_bytes"])
    assert times[0] > times[1]


def test_a_profile_of_the_users_own(cli: Run, tmp_path: Path) -> None:
    """Kernels that it does not have are named, not guessed."""
    model, profile = tiny_llama(tmp_path / "tiny.gguf"), tmp_path / "mine.toml"
    write_profile(small_profile(), profile)
    assert_error(cli("latency", model, "--device", profile), 1, "no cost of the kernel trellis-k3")
    kernels = ("trellis-k3-d1-l12-t256-fold", "trellis-k4-d1-l12-t256")
    write_profile(small_profile((small_cluster(kernels=kernels),)), profile)
    assert cli("latency", model, "--device", profile).code == 0


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("--device", "pi6"), 1, "no device 'pi6'"),
        (("--device", "pi5", "--threads", "9"), 1, "9 threads, Raspberry Pi 5 has 4 cores"),
        (("--device", "pi5", "--threads", "65"), 2, "threads"),
        (("--device", "nowhere.toml"), 1, "nowhere.toml"),
        (("--device", "pi5", "--bits", "2"), 2, "is compressed already"),
        (("--device", "all", "--verbose"), 2, "--verbose shows one device"),
        ((), 2, "--device"),
    ],
)
def test_wrong_words(
    cli: Run, tmp_path: Path, words: tuple[str, ...], code: int, reason: str
) -> None:
    model = tiny_llama(tmp_path / "tiny.gguf")
    assert_error(cli("latency", model, *words), code, reason)


@pytest.mark.parametrize("image", ["3x32", "3x32x-1", "axbxc", "3x0x4", "3x99999x4"])
def test_images_that_there_are_not(cli: Run, tmp_path: Path, image: str) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "resnet"}')
    (folder / "model.safetensors").write_bytes(bytes([2, 0, 0, 0, 0, 0, 0, 0]) + b"{}")
    result = cli("latency", folder, "--device", "pi5", "--image", image)
    assert_error(result, 1 if "no tensors" in result.err else 2)


def test_files_that_are_no_models(cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    assert_error(cli("latency", path, "--device", "pi5"), 1, "No such file")
    path.write_bytes(b"GGUF")
    assert_error(cli("latency", path, "--device", "pi5"), 1, str(path))
    assert_error(cli("latency", tmp_path / "none", "--device", "pi5"), 1, "no folder")
