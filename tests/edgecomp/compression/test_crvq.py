"""CRVQ of a whole model: every setting, resumed after any end, what cannot be done."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgecomp.calibration import CalibrateSettings, CalibrationError, calibrate_checkpoint
from edgecomp.checkpoint import CheckpointError, open_checkpoint
from edgecomp.compression import Calibration, CompressError, CompressReport, compress_checkpoint
from edgecomp.compression.workfolder import work_folder_path
from edgecomp.encode import CrvqSettings, WeightError
from edgecomp.evaluation import load_compressed
from edgecomp.progress import Step
from edgecomp.tuning import tuner
from exporters.gguf import open_container
from tests.edgecomp.compression.judged import CONTEXT, kl
from tests.edgecomp.crvq.small_models import save_small, write_text

pytestmark = pytest.mark.slow  # a minute in all; test_crvq_cli.py has a short one

QUICK = CrvqSettings(codebook_bits=4, critical=0.1, sweeps=1, finetune="none", epochs=0.5)
TUNED = replace(QUICK, finetune="end-to-end")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def tuned_sha256(llama: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the Llama's container with TUNED."""
    return compress(llama, tmp_path_factory.mktemp("whole") / "m.gguf", text, TUNED).sha256


def learned(text: Path | None, statistics: Path | None = None) -> Calibration:
    return Calibration(text, statistics, context=CONTEXT, device="cpu")


def compress(
    folder: Path,
    out: Path,
    text: Path | None,
    settings: CrvqSettings = QUICK,
    statistics: Path | None = None,
    **callbacks: Any,
) -> CompressReport:
    checkpoint = open_checkpoint(str(folder))
    calibration = learned(text, statistics)
    return compress_checkpoint(checkpoint, settings, out, calibration=calibration, **callbacks)


SETTINGS: dict[str, dict[str, object]] = {
    "plain": {},
    "block": {"finetune": "block"},
    "end-to-end": {"finetune": "end-to-end"},
    "keep-codes": {"finetune": "end-to-end", "move_codes": False},
    "no-critical": {"critical": 0.0, "finetune": "end-to-end"},
    "all-critical": {"critical": 1.0, "allocation": "even"},
    "scalar": {"critical_codes": "scalar", "finetune": "end-to-end"},
    "all-scalar": {"critical_codes": "scalar", "critical": 1.0, "allocation": "even"},
    "even": {"allocation": "even", "finetune": "block"},
    "greedy": {"initialisation": "greedy", "sweeps": 0},
    "obs": {"importance": "obs"},
    "weight": {"importance": "weight"},
    "random": {"importance": "random"},
    "share-tensor": {"share": "tensor", "finetune": "end-to-end"},
    "share-kind": {"share": "kind", "finetune": "end-to-end"},
    "share-model": {"share": "model", "finetune": "block"},
    "dim-4": {"dim": 4, "codebook_bits": 4, "finetune": "block"},
    "dim-1": {"dim": 1, "codebook_bits": 3, "critical_codes": "scalar", "finetune": "block"},
    "dim-16": {"dim": 16, "codebook_bits": 8},
    "one-bit-codes": {"codebook_bits": 1, "sweeps": 0},
    "seven-extended": {"extended": 7},
    "int8": {"codebook_dtype": "int8"},
    "int16": {"codebook_dtype": "int16"},
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting(llama: Path, text: Path, tmp_path: Path, name: str) -> None:
    settings = replace(QUICK, **SETTINGS[name])
    out = tmp_path / "m.gguf"
    report = compress(llama, out, text, settings)
    checkpoint = open_checkpoint(str(llama))
    assert report.n_weights == report.encoded_weights == checkpoint.n_weights
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf"]
    with open_container(out) as container:
        codecs = {entry.name: entry.format.codec for entry in container.tensors}
    assert set(codecs) == {entry.name for entry in checkpoint.tensors}
    for tensor, codec in codecs.items():
        if tensor.endswith("norm.weight"):
            assert codec == "raw"
        elif tensor in ("model.embed_tokens.weight", "lm_head.weight"):
            assert codec == "winding"
        else:
            assert codec in ("crvq", "columns")
    assert 0 < kl(out, llama, text) < 1.0


def test_tuning_comes_nearer_to_the_original(llama: Path, text: Path, tmp_path: Path) -> None:
    found = []
    for finetune in ("none", "block", "end-to-end"):
        settings = replace(QUICK, finetune=finetune, epochs=20.0)
        out = tmp_path / f"{finetune}.gguf"
        compress(llama, out, text, settings)
        found.append(kl(out, llama, text))
    assert found[2] < 0.9 * found[1] < 0.9 * found[0]


def test_same_settings_and_seed_give_the_same_bytes(
    llama: Path, text: Path, tmp_path: Path, tuned_sha256: str
) -> None:
    assert compress(llama, tmp_path / "1.gguf", text, TUNED).sha256 == tuned_sha256
    other = compress(llama, tmp_path / "2.gguf", text, replace(TUNED, seed=1))
    assert other.sha256 != tuned_sha256


def test_statistics_of_the_same_windows_give_the_same_bytes(
    llama: Path, text: Path, tmp_path: Path, tuned_sha256: str
) -> None:
    checkpoint = open_checkpoint(str(llama))
    how = CalibrateSettings(512, CONTEXT, "cpu")
    calibrate_checkpoint(checkpoint, text, tmp_path / "statistics", how)
    before = sorted(os.listdir(tmp_path / "statistics"))
    report = compress(llama, tmp_path / "m.gguf", text, TUNED, tmp_path / "statistics")
    assert report.sha256 == tuned_sha256
    assert sorted(os.listdir(tmp_path / "statistics")) == before


def test_every_stage_tells_its_loss(llama: Path, text: Path, tmp_path: Path) -> None:
    steps: list[Step] = []
    compress(llama, tmp_path / "m.gguf", text, TUNED, progress=steps.append)
    stages = list(dict.fromkeys(step.stage for step in steps))
    assert stages == ["calibrate", "encode", "crvq", "write"]
    items = [step.item for step in steps if step.stage == "crvq"]
    assert items[0] == "output sensitivity"
    site = r"model\.layers\.\d\.[a-z_.]+\.weight"
    for pattern, least in (
        (rf"columns, {site}", 8),
        (rf"codebooks, {site}", 8),
        (rf"{site}: start, relative loss 0\.\d{{4}}", 1),
        (rf"{site}: sweep 1, relative loss 0\.\d{{4}}", 1),
        (r"block 0: loss \d+\.\d{4}", 1),
        (r"block 1: loss \d+\.\d{4}", 1),
        (r"whole model: KL \d+\.\d{4}", 1),
    ):
        assert sum(re.fullmatch(pattern, item) is not None for item in items) >= least, pattern
    assert all(0 <= s.items_done <= s.items and s.items > 0 for s in steps if s.stage == "crvq")
    last = {step.item.partition(":")[0]: step for step in steps if step.stage == "crvq"}
    assert (last["block 1"].items_done, last["block 0"].items_done * 2) == (
        last["block 1"].items, last["block 1"].items
    )  # fmt: skip
    assert last["whole model"].items_done == last["whole model"].items


class Interrupted:
    """Progress that raises once a file of the work folder is there; keeps what it was told."""

    def __init__(self, out: Path, file: str) -> None:
        self.path = work_folder_path(out) / file
        self.items: list[str] = []

    def __call__(self, step: Step) -> None:
        self.items.append(f"{step.stage} {step.item}")
        if self.path.exists():
            raise KeyboardInterrupt


# A file, and what the run after it does not do again.
STAGES = [
    ("statistics/block-00000.safetensors", ["calibrate embeddings", "calibrate block 0"]),
    ("statistics/index.json", ["calibrate"]),
    ("crvq-fisher.safetensors", ["calibrate", "crvq output"]),
    ("crvq-plan.safetensors", ["calibrate", "crvq output", "crvq columns", "crvq codebooks"]),
    ("crvq-start-0000.safetensors", ["crvq columns", "crvq model.layers.0"]),
    ("crvq-block-0000.safetensors", ["crvq columns", "crvq model", "crvq block 0"]),
    ("original-0001.f32", ["crvq columns", "crvq model"]),
    ("original-0002.f32", ["crvq columns", "crvq model", "crvq block 0"]),
    ("crvq-block-0001.safetensors", ["crvq columns", "crvq model", "crvq block"]),
    ("crvq-model.safetensors", ["calibrate", "crvq"]),
]


@pytest.mark.parametrize(("file", "redone"), STAGES)
def test_interrupted_run_goes_on(
    llama: Path, text: Path, tmp_path: Path, tuned_sha256: str, file: str, redone: list[str]
) -> None:
    out = tmp_path / "m.gguf"
    with pytest.raises(KeyboardInterrupt):
        compress(llama, out, text, TUNED, progress=Interrupted(out, file))
    assert not out.exists()
    assert (work_folder_path(out) / file).exists()
    items: list[str] = []
    report = compress(
        llama, out, text, TUNED, progress=lambda step: items.append(f"{step.stage} {step.item}")
    )
    again = [item for item in items if any(item.startswith(start) for start in redone)]
    assert again == []
    assert items
    assert report.sha256 == tuned_sha256
    assert not work_folder_path(out).exists()


CHILD = """
import os, signal, sys
from pathlib import Path
from edgecomp.checkpoint import open_checkpoint
from edgecomp.compression import Calibration, compress_checkpoint
from edgecomp.compression.workfolder import work_folder_path
from edgecomp.encode import CrvqSettings

folder, text, out, file = sys.argv[1:]

def kill(step):
    if (work_folder_path(Path(out)) / file).exists():
        os.kill(os.getpid(), signal.SIGKILL)

settings = CrvqSettings(codebook_bits=4, critical=0.1, sweeps=1, epochs=0.5)
calibration = Calibration(Path(text), context=32, device="cpu")
compress_checkpoint(open_checkpoint(folder), settings, Path(out), kill, calibration=calibration)
"""


@pytest.mark.slow
@pytest.mark.parametrize("files", [
    ["crvq-fisher.safetensors", "crvq-start-0000.safetensors", "crvq-block-0000.safetensors"],
    ["statistics/head.safetensors", "crvq-plan.safetensors", "crvq-model.safetensors"],
])  # fmt: skip
def test_killed_runs_go_on(
    llama: Path, text: Path, tmp_path: Path, tuned_sha256: str, files: list[str]
) -> None:
    """Each child is killed later than the one before it."""
    out = tmp_path / "m.gguf"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    for file in files:
        ended = subprocess.run(
            [sys.executable, "-c", CHILD, str(llama), str(text), str(out), file],
            env=environment, check=False, capture_output=True,
        )  # fmt: skip
        assert ended.returncode == -9, ended.stderr
        assert not out.exists()
    notes: list[str] = []
    report = compress(llama, out, text, TUNED, note=notes.append)
    assert not any(line.startswith("starting over") for line in notes)
    assert report.sha256 == tuned_sha256
    assert not work_folder_path(out).exists()


@pytest.mark.parametrize("torn", ["crvq-start-0000.safetensors.tmp", "original-0001.f32"])
def test_half_written_files_do_no_harm(
    llama: Path, text: Path, tmp_path: Path, tuned_sha256: str, torn: str
) -> None:
    out = tmp_path / "m.gguf"
    with pytest.raises(KeyboardInterrupt):
        compress(llama, out, text, TUNED, progress=Interrupted(out, "crvq-block-0000.safetensors"))
    path = work_folder_path(out) / torn
    path.write_bytes(b"half")
    assert compress(llama, out, text, TUNED).sha256 == tuned_sha256
    assert not work_folder_path(out).exists()


@pytest.mark.parametrize("change", ["seed", "text", "windows"])
def test_changed_jobs_start_over(llama: Path, text: Path, tmp_path: Path, change: str) -> None:
    out = tmp_path / "m.gguf"
    with pytest.raises(KeyboardInterrupt):
        compress(llama, out, text, progress=Interrupted(out, "crvq-plan.safetensors"))
    settings = replace(QUICK, seed=1) if change == "seed" else QUICK
    calibration = learned(text)
    if change == "text":
        calibration = learned(write_text(tmp_path / "other.txt", 600))
    if change == "windows":
        calibration = replace(calibration, windows=8)
    checkpoint = open_checkpoint(str(llama))

    def run(path: Path) -> CompressReport:
        return compress_checkpoint(checkpoint, settings, path, calibration=calibration)

    report = run(out)
    assert report.notes[0].startswith("starting over: settings or model differ")
    fresh = run(tmp_path / "fresh.gguf")
    assert not any(line.startswith("starting over") for line in fresh.notes)
    assert report.sha256 == fresh.sha256


def test_other_folders_are_left_alone(llama: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.gguf"
    mine = work_folder_path(out) / "statistics" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(CompressError, match="not a work folder of edgecomp"):
        compress(llama, out, text)
    assert mine.read_text() == "mine"


def fails(
    folder: Path, tmp_path: Path, text: Path | None, kind: type[Exception], match: str, **more: Any
) -> Exception:
    """The error of a compression that leaves nothing behind."""
    out = tmp_path / "failed.gguf"
    with pytest.raises(kind, match=match) as caught:
        compress(folder, out, text, **more)
    assert not out.exists()
    assert not work_folder_path(out).exists()
    return caught.value


def test_wrong_calibrations(llama: Path, text: Path, tmp_path: Path) -> None:
    fails(llama, tmp_path, None, CompressError, "crvq needs a calibration text")
    with pytest.raises(CompressError, match="crvq needs a calibration text"):
        compress_checkpoint(open_checkpoint(str(llama)), QUICK, tmp_path / "m.gguf")
    fails(llama, tmp_path, tmp_path / "no.txt", FileNotFoundError, "no.txt")
    short = write_text(tmp_path / "short.txt", 31)
    fails(llama, tmp_path, short, CalibrationError, "has 31 tokens, one window needs 32")
    latin = tmp_path / "latin.txt"
    latin.write_bytes(text.read_bytes() + b"\xff")
    fails(llama, tmp_path, latin, UnicodeDecodeError, "utf-8")


def test_wrong_calibrations_with_statistics(llama: Path, text: Path, tmp_path: Path) -> None:
    """What tuning reads is looked at before the codes are made."""
    statistics = tmp_path / "statistics"
    checkpoint = open_checkpoint(str(llama))
    how = CalibrateSettings(512, CONTEXT, "cpu", imatrix=tmp_path / "imatrix.gguf")
    calibrate_checkpoint(checkpoint, text, statistics, how)

    def refused(text: Path | None, kind: type[Exception], match: str) -> None:
        fails(llama, tmp_path, text, kind, match, settings=TUNED, statistics=statistics)

    refused(None, CompressError, "crvq needs a calibration text")
    refused(write_text(tmp_path / "short.txt", 31), CalibrationError, "has 31 tokens")
    latin = tmp_path / "latin.txt"
    latin.write_bytes(text.read_bytes() + b"\xff")
    refused(latin, UnicodeDecodeError, "utf-8")
    other = save_small(tmp_path / "other", intermediate_size=64)
    fails(
        other, tmp_path, text, CalibrationError, "statistics of another model than other",
        statistics=statistics,
    )  # fmt: skip
    fails(
        llama, tmp_path, text, CalibrationError, "which holds only the diagonal",
        statistics=tmp_path / "imatrix.gguf",
    )  # fmt: skip
    missing = tmp_path / "nothing"
    missing.mkdir()
    fails(llama, tmp_path, text, CalibrationError, "not a folder of statistics", statistics=missing)


def test_no_tokenizer(tmp_path: Path, text: Path) -> None:
    folder = save_small(tmp_path / "m")
    how = CalibrateSettings(512, CONTEXT, "cpu")
    calibrate_checkpoint(open_checkpoint(str(folder)), text, tmp_path / "statistics", how)
    (folder / "tokenizer.json").unlink()
    fails(folder, tmp_path, text, CompressError, "has no tokenizer.json")
    statistics = tmp_path / "statistics"
    fails(folder, tmp_path, text, CompressError, "has no tokenizer.json", statistics=statistics)


def changed_model(folder: Path, changes: dict[str, Callable[[torch.Tensor], None]]) -> Path:
    """A Llama with some tensors changed in place."""
    from safetensors.torch import load_file, save_file

    save_small(folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name, change in changes.items():
        change(tensors[name])
    save_file(tensors, path, {"format": "pt"})
    return folder


def put(value: float) -> Callable[[torch.Tensor], None]:
    def change(tensor: torch.Tensor) -> None:
        tensor[1, 2] = value

    return change


def times(factor: float) -> Callable[[torch.Tensor], None]:
    def change(tensor: torch.Tensor) -> None:
        tensor.mul_(factor)

    return change


def fill(value: float, rows: slice = slice(None)) -> Callable[[torch.Tensor], None]:
    def change(tensor: torch.Tensor) -> None:
        tensor[rows] = value

    return change


UP = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", [UP, "model.embed_tokens.weight", "lm_head.weight"])
def test_weights_that_are_not_finite_are_named(
    tmp_path: Path, text: Path, name: str, value: float
) -> None:
    folder = changed_model(tmp_path / "m", {name: put(value)})
    error = fails(folder, tmp_path, text, ValueError, re.escape(name))
    assert isinstance(error, CheckpointError | WeightError)


def test_activations_that_are_not_finite_are_named(tmp_path: Path, text: Path) -> None:
    folder = changed_model(tmp_path / "m", {UP: fill(3e38)})
    fails(folder, tmp_path, text, CheckpointError, r"model\.layers\.1\.mlp\.down_proj\.weight")


def test_scales_that_no_container_holds_are_named(tmp_path: Path, text: Path) -> None:
    name = "model.layers.0.self_attn.o_proj.weight"
    folder = changed_model(tmp_path / "m", {name: times(1e-24)})
    out = tmp_path / "m.gguf"
    with pytest.raises(WeightError, match=f"tensor {re.escape(name)}: a scale of"):
        compress(folder, out, text, replace(QUICK, share="tensor"))
    assert not out.exists()


@pytest.mark.parametrize("finetune", ["none", "end-to-end"])
def test_zero_and_constant_matrices(tmp_path: Path, text: Path, finetune: Any) -> None:
    zero = "model.layers.0.self_attn.v_proj.weight"
    constant = "model.layers.1.mlp.down_proj.weight"
    folder = changed_model(
        tmp_path / "m",
        {zero: fill(0.0), constant: fill(0.25), UP: fill(0.0, slice(3, 5))},
    )  # fmt: skip
    for share in ("tensor", "model"):
        out = tmp_path / f"{share}.gguf"
        settings = replace(QUICK, share=share, finetune=finetune)
        compress(folder, out, text, settings)
        assert kl(out, folder, text) < 1
        network: Any = load_compressed(out).network
        stored = network.state_dict()
        assert not stored[zero].any()
        if finetune == "none":
            assert float((stored[constant] - 0.25).abs().max()) < 0.05


ODD: dict[str, tuple[str, dict[str, object]]] = {
    "columns": ("llama", {"hidden_size": 36, "intermediate_size": 50, "head_dim": 8}),
    "narrow": ("llama", {"hidden_size": 4, "intermediate_size": 6, "head_dim": 4}),
    "one-row": ("llama", {"intermediate_size": 1}),
    "biases": ("llama", {"mlp_bias": True, "attention_bias": True}),
    "opt": ("opt", {}),
    "opt-projected": ("opt", {"word_embed_proj_dim": 16}),
    "qwen2": ("qwen2", {}),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_models(tmp_path: Path, text: Path, name: str) -> None:
    architecture, changes = ODD[name]
    folder = save_small(tmp_path / "m", architecture, **changes)
    for codes, allocation in (("codebooks", "measured"), ("scalar", "even")):
        settings = replace(TUNED, critical_codes=codes, allocation=allocation)
        out = tmp_path / f"{allocation}.gguf"
        compress(folder, out, text, settings)
        assert kl(out, folder, text) < 2
        with open_container(out) as container:
            entries = {entry.name: entry.format.codec for entry in container.tensors}
        assert {"crvq", "columns"} & set(entries.values())
        biases = [codec for tensor, codec in entries.items() if tensor.endswith("bias")]
        assert set(biases) <= {"raw"}
        assert len(biases) > 0 or architecture == "llama"


def test_transposed_linears(tmp_path: Path, text: Path) -> None:
    """All of GPT-2's are, so that there is nothing to code."""
    folder = save_small(tmp_path / "m", "gpt2")
    notes: list[str] = []
    error = fails(
        folder, tmp_path, text, CompressError, "m has no linear that CRVQ can code",
        note=notes.append,
    )  # fmt: skip
    assert isinstance(error, CompressError)
    assert error.hint == "use --codec trellis"
    assert not any("transposed" in note for note in notes)


@pytest.mark.parametrize("finetune", ["block", "end-to-end"])
def test_tuning_that_diverges(
    llama: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finetune: Any
) -> None:
    monkeypatch.setattr(tuner, "SCALE_RATE", 1e9)
    out = tmp_path / "m.gguf"
    with pytest.raises(CompressError, match="tuning failed: the loss is nan at step") as caught:
        compress(llama, out, text, replace(QUICK, finetune=finetune, epochs=50.0))
    assert "--finetune none" in caught.value.hint
    assert not out.exists()


def test_full_disk(
    llama: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuned_sha256: str
) -> None:
    """When the hidden states of block tuning do not fit; the next start goes on."""
    out = tmp_path / "m.gguf"
    allocate = os.posix_fallocate

    def refuse(file: int, first: int, size: int) -> None:
        if (work_folder_path(out) / "crvq-block-0000.safetensors").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        allocate(file, first, size)

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(CompressError, match="No space left on device") as caught:
        compress(llama, out, text, TUNED)
    assert "start again" in caught.value.hint
    monkeypatch.undo()
    assert compress(llama, out, text, TUNED).sha256 == tuned_sha256
