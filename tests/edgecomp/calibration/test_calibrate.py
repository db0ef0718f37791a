"""A calibration: what it computes, how it goes on after an end, what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgecomp import pipeline
from edgecomp.calibration import (
    CalibrateReport,
    CalibrateSettings,
    CalibrationError,
    calibrate_checkpoint,
    open_statistics,
)
from edgecomp.calibration.gather import BATCH_TOKENS
from edgecomp.calibration.sites import find_linears
from edgecomp.calibration.sums import CHUNK_TOKENS
from edgecomp.calibration.windows import cut_windows
from edgecomp.checkpoint import CheckpointError, open_checkpoint
from edgecomp.evaluation import read_tokens
from edgecomp.evaluation.language_model import load_original
from edgecomp.evaluation.tensor_names import network_names
from edgecomp.progress import Step

SMALL = CalibrateSettings(windows=6, context=16, device="cpu")


def calibrate(model: Path, text: Path, out: Path, **options: object) -> CalibrateReport:
    """Statistics of six windows of 16 tokens."""
    return calibrate_checkpoint(open_checkpoint(str(model)), text, out, SMALL, **options)


def contents(folder: Path) -> dict[str, str]:
    """The sha256 of every file by name."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def inputs_of_whole_network(model: Path, tokens: NDArray[np.int64]) -> dict[str, torch.Tensor]:
    """What each linear reads, float32 (n_tokens, d_in), by the checkpoint's name of its weight."""
    checkpoint = open_checkpoint(str(model))
    network = load_original(checkpoint).network
    own_name = network_names(network)
    own = network.state_dict(keep_vars=True)
    stored = {
        name: entry.name
        for name, tensor in own.items()
        for entry in checkpoint.tensors
        if own[own_name(entry.name)] is tensor
    }
    found: dict[str, torch.Tensor] = {}
    for linear, name in find_linears(network, stored).items():

        def keep(module: object, args: tuple[torch.Tensor], name: str = name) -> None:
            found[name] = args[0].reshape(-1, args[0].shape[-1])

        linear.register_forward_pre_hook(keep)
    with torch.no_grad():
        network(input_ids=torch.from_numpy(tokens), use_cache=False)
    return found


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2", "opt", "gpt_neox", "phi"])
def test_means_are_those_of_the_whole_network(
    architecture: str, tiny_model: Callable[[str], Path], text: Path, tmp_path: Path
) -> None:
    model = tiny_model(architecture)
    report = calibrate(model, text, tmp_path / "stats")
    statistics = open_statistics(tmp_path / "stats", open_checkpoint(str(model)))
    tokens = read_tokens(model / "tokenizer.json", text.read_text())
    assert tokens.size == 1000
    windows = cut_windows(tokens, 6, 16, 48)
    assert windows.size <= BATCH_TOKENS <= CHUNK_TOKENS  # one product of float32, as bounded below
    expected = inputs_of_whole_network(model, windows)
    outside = {name for name in expected if "project_" in name}  # OPT's, beside its embeddings
    assert len(outside) == (2 if architecture == "opt" else 0)
    assert statistics.tensors == tuple(sorted(expected.keys() - outside))
    assert report.tokens == statistics.tokens == 96
    for name in statistics.tensors:
        x = expected[name]
        exact = x.double().numpy()
        mean = exact.T @ exact / len(exact)
        magnitude = np.abs(exact).T @ np.abs(exact) / len(exact)
        # A float32 sum of n products is off by at most n u of their magnitudes; the mean is rounded
        # once more. Higham, Accuracy and Stability of Numerical Algorithms, (3.5), u = 2^-24.
        bound = (len(exact) + 1) * 2.0**-24 * 1.01 * magnitude
        hessian = statistics.hessian(name)
        assert hessian.dtype == np.float32
        assert np.array_equal(hessian, hessian.T)
        assert (np.abs(hessian - mean) <= bound).all(), name
        assert bound.max() < 0.001 * mean.max()
        assert np.array_equal(statistics.diagonal(name), hessian.diagonal())


def test_tensors_with_the_same_input_share_a_site(llama: Path, text: Path, tmp_path: Path) -> None:
    report = calibrate(llama, text, tmp_path / "stats")
    assert (report.n_blocks, report.n_sites, report.n_tensors) == (3, 13, 22)
    statistics = open_statistics(tmp_path / "stats")
    layer = "model.layers.1."
    q, k, v = (f"{layer}self_attn.{name}_proj.weight" for name in "qkv")
    assert statistics.site(q).tensors == (q, k, v)
    assert statistics.site(v) is statistics.site(q)
    assert np.array_equal(statistics.hessian(q), statistics.hessian(v))
    gate, up = f"{layer}mlp.gate_proj.weight", f"{layer}mlp.up_proj.weight"
    assert statistics.site(up).tensors == (gate, up)
    assert statistics.site(f"{layer}mlp.down_proj.weight").columns == 24
    assert statistics.sites[-1].tensors == ("lm_head.weight",)


def test_bytes_are_the_same_each_time(llama: Path, text: Path, tmp_path: Path) -> None:
    steps: list[Step] = []
    calibrate(llama, text, tmp_path / "a", progress=steps.append)
    again = pipeline.calibrate(llama, text, tmp_path / "b", SMALL)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert sorted(contents(tmp_path / "a")) == [
        *(f"block-0000{i}.safetensors" for i in range(3)),
        "head.safetensors",
        "index.json",
    ]
    assert again.file_bytes == sum(f.stat().st_size for f in (tmp_path / "b").iterdir())
    assert [step.items_done for step in steps] == sorted(step.items_done for step in steps)
    assert (steps[0].items_done, steps[-1].items_done, steps[-1].items) == (0, 24, 24)
    notes: list[str] = []
    repeated = calibrate(llama, text, tmp_path / "a", note=notes.append)
    assert notes == [f"{tmp_path / 'a'} is complete already"]
    assert repeated.resumed_blocks == 3
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


class StoppedError(Exception):
    """Ends a run where a test wants it to end."""


@pytest.mark.parametrize("part", [0, 1, 2, 3])
@pytest.mark.parametrize("at_end", [False, True])
def test_ended_anywhere_and_started_again(
    part: int, at_end: bool, llama: Path, text: Path, tmp_path: Path
) -> None:
    """At the first and the last window of every block and of the head."""
    whole, out = tmp_path / "whole", tmp_path / "stats"
    calibrate(llama, text, whole)

    def stop(step: Step) -> None:
        if step.item in (f"block {part}", "head") and step.items_done == 6 * (part + at_end):
            raise StoppedError

    with pytest.raises(StoppedError):
        calibrate(llama, text, out, progress=stop)
    if part == 0:
        assert not out.exists()
    else:
        with pytest.raises(CalibrationError, match="not finished"):
            open_statistics(out)
    notes: list[str] = []
    report = calibrate(llama, text, out, note=notes.append)
    assert report.resumed_blocks == part
    expected = f"going on with {part} of 3 blocks finished before"
    assert notes == ([expected] if part else [])
    assert contents(out) == contents(whole)


@pytest.mark.slow
def test_killed_half_way_and_started_again(bookworm: Path, tmp_path: Path) -> None:
    """kill -9 while a block is worked on: the same bytes as an unbroken run."""
    text = tmp_path / "text.txt"
    text.write_text("The old man looked at the sea and thought of his boat. " * 500)
    options = ["--text", str(text), "--windows", "8", "--context", "256", "--device", "cpu"]
    code = "from edgecomp.cli import main; main()"

    def command(out: Path) -> list[str]:
        return [sys.executable, "-c", code, "calibrate", str(bookworm), *options, "-o", str(out)]

    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    whole, out = tmp_path / "whole", tmp_path / "stats"
    subprocess.run(command(whole), check=True, capture_output=True, env=one_thread)
    child = subprocess.Popen(
        command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=one_thread
    )
    while not (out / "block-00002.safetensors").exists() and child.poll() is None:
        time.sleep(0.002)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    assert not (out / "index.json").exists()
    again = subprocess.run(
        [*command(out), "--json"], check=True, capture_output=True, text=True, env=one_thread
    )
    assert json.loads(again.stdout)["resumed_blocks"] >= 3
    assert contents(out) == contents(whole)


def test_another_text_starts_over_or_is_refused(llama: Path, text: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(text.read_text()[::-1])
    out = tmp_path / "stats"

    def stop(step: Step) -> None:
        if step.item == "block 1":
            raise StoppedError

    with pytest.raises(StoppedError):
        calibrate(llama, other, out, progress=stop)
    notes: list[str] = []
    report = calibrate(llama, text, out, note=notes.append)
    assert notes == [
        "starting over: model, text or options differ from those of the unfinished run"
    ]
    assert report.resumed_blocks == 0
    calibrate(llama, text, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")
    with pytest.raises(CalibrationError, match="another model or text"):
        calibrate(llama, other, out)
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize("name", ["block-00001.safetensors", "head.safetensors"])
def test_damaged_files_are_made_again(name: str, llama: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "stats"
    calibrate(llama, text, out)
    before = contents(out)
    (out / name).write_bytes((out / name).read_bytes()[:-1])
    notes: list[str] = []
    calibrate(llama, text, out, note=notes.append)
    assert notes == ["starting over: a file of the earlier run is damaged or missing"]
    assert contents(out) == before


def test_damaged_hidden_states_are_made_again(llama: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "stats"

    def stop(step: Step) -> None:
        if step.item == "block 2":
            raise StoppedError

    with pytest.raises(StoppedError):
        calibrate(llama, text, out, progress=stop)
    (out / "hidden-0.bin").write_bytes(b"short")
    notes: list[str] = []
    calibrate(llama, text, out, note=notes.append)
    assert notes == ["starting over: a file of the earlier run is damaged or missing"]
    calibrate(llama, text, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")


def test_files_of_before_do_not_count_after_starting_over(
    llama: Path, text: Path, tmp_path: Path
) -> None:
    """A damaged first block, a second run that is ended in the middle of it, and a third one."""
    out = tmp_path / "stats"
    calibrate(llama, text, out)
    before = contents(out)
    first = out / "block-00000.safetensors"
    first.write_bytes(first.read_bytes()[:-1])

    def stop(step: Step) -> None:
        if step.item == "block 1":
            raise StoppedError

    with pytest.raises(StoppedError):
        calibrate(llama, text, out, progress=stop)
    assert [file.name for file in sorted(out.glob("*.safetensors"))] == ["block-00000.safetensors"]
    calibrate(llama, text, out)
    assert contents(out) == before


def test_statistics_belong_to_a_model_wherever_it_lies(
    llama: Path, text: Path, tmp_path: Path
) -> None:
    out = tmp_path / "stats"
    calibrate(llama, text, out)
    moved = shutil.copytree(llama, tmp_path / "moved")
    expected = open_statistics(out).hessian("lm_head.weight")
    found = open_statistics(out, open_checkpoint(str(moved))).hessian("lm_head.weight")
    assert np.array_equal(found, expected)
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    with pytest.raises(CalibrationError, match="another model than moved"):
        open_statistics(out, open_checkpoint(str(moved)))


def test_weights_that_overflow_name_the_tensor(llama: Path, text: Path, tmp_path: Path) -> None:
    """A finite weight makes a later linear read infinity: that linear is named, and the block."""
    weights = llama / "model.safetensors"
    raw = weights.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    first, last = header["model.layers.1.mlp.up_proj.weight"]["data_offsets"]
    huge = np.full((last - first) // 4, 3e38, "<f4").tobytes()
    weights.write_bytes(raw[: 8 + size + first] + huge + raw[8 + size + last :])
    out = tmp_path / "stats"
    with pytest.raises(CheckpointError) as caught:
        calibrate(llama, text, out)
    assert "tensor model.layers.1.mlp.down_proj.weight: its input in block 1 is" in str(
        caught.value
    )
    assert not out.exists()


def test_weights_that_are_not_finite(llama: Path, text: Path, tmp_path: Path) -> None:
    weights = llama / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    at = 8 + size + header["model.layers.2.self_attn.v_proj.weight"]["data_offsets"][0]
    raw[at : at + 4] = np.float32(np.nan).tobytes()
    weights.write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"tensor model.layers.2.self_attn.v_proj.weight"):
        calibrate(llama, text, tmp_path / "stats")
    assert not (tmp_path / "stats").exists()


def test_full_disk_keeps_finished_blocks(
    llama: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "stats"
    fallocate = os.posix_fallocate
    taken: list[int] = []

    def refuse(descriptor: int, offset: int, size: int) -> None:
        taken.append(size)
        if len(taken) == 3:  # the embeddings, block 0, block 1
            raise OSError(28, "No space left on device")
        fallocate(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(CalibrationError, match="No space left on device") as caught:
        calibrate(llama, text, out)
    assert "1 finished blocks are kept" in caught.value.hint
    assert set(taken) == {4 * 6 * 16 * 16}
    monkeypatch.undo()
    assert calibrate(llama, text, out).resumed_blocks == 1


def test_too_small_a_disk_is_seen_before(
    llama: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(CalibrationError, match=r"0\.0 MB free, about 0\.\d MB are needed"):
        calibrate(llama, text, tmp_path / "stats")
    assert not (tmp_path / "stats").exists()


def test_one_run_at_a_time(llama: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "stats"

    def start_another(step: Step) -> None:
        with pytest.raises(CalibrationError, match="another run is writing"):
            calibrate(llama, text, out)
        raise StoppedError

    with pytest.raises(StoppedError):
        calibrate(llama, text, out, progress=start_another)


def test_windows_are_spread_over_the_text() -> None:
    tokens = np.arange(105)
    windows = cut_windows(tokens, 3, 10, 105)
    assert windows[:, 0].tolist() == [0, 30, 60]
    assert (windows == windows[:, :1] + np.arange(10)).all()
    assert cut_windows(tokens, 99, 10, 105).shape == (10, 10)
    with pytest.raises(CalibrationError, match="has 105 tokens, one window needs 106"):
        cut_windows(tokens, 1, 106, 105)
    with pytest.raises(CalibrationError, match="gives token 104, the model has 104"):
        cut_windows(tokens, 1, 10, 104)
