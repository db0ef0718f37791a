"""Trellis codes of a whole model: rates, feedback, tuning, resumed after any end, bad input."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecomp.calibration import CalibrateSettings, CalibrationError, calibrate_checkpoint
from edgecomp.checkpoint import open_checkpoint
from edgecomp.compression import Calibration, CompressError, CompressReport, compress_checkpoint
from edgecomp.compression.workfolder import finished_tensors, work_folder_path
from edgecomp.encode import SettingsError, TrellisSettings, WeightError
from edgecomp.encode.settings.trellis import TABLE_ENTRIES, TRELLIS_BITS
from edgecomp.progress import Step
from exporters.gguf import open_container
from runtime_ops import native
from runtime_ops.formats import ColumnsFormat, RawFormat, TrellisFormat, UniformFormat
from tests.edgecomp.compression.judged import CONTEXT, kl
from tests.edgecomp.conftest import tiny_tensors, write_model
from tests.edgecomp.crvq.small_models import save_small, write_text

PLAIN = TrellisSettings(bits=3, state_bits=8)
TUNED = replace(PLAIN, bits=2, finetune="end-to-end", epochs=0.5)
UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="module")
def statistics(llama: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("statistics")
    how = CalibrateSettings(512, CONTEXT, "cpu", folder / "imatrix.gguf")
    calibrate_checkpoint(open_checkpoint(str(llama)), text, folder / "statistics", how)
    return folder


def compress(
    folder: Path,
    out: Path,
    settings: TrellisSettings = PLAIN,
    text: Path | None = None,
    statistics: Path | None = None,
    **callbacks: Any,
) -> CompressReport:
    known = None
    if text is not None or statistics is not None:
        known = Calibration(text, statistics, context=CONTEXT, device="cpu")
    checkpoint = open_checkpoint(str(folder))
    return compress_checkpoint(checkpoint, settings, out, calibration=known, **callbacks)


def formats(out: Path) -> dict[str, Any]:
    with open_container(out) as container:
        return {entry.name: entry.format for entry in container.tensors}


def test_linears_and_embeddings_have_rates_of_their_own(llama: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    compress(llama, tmp_path / "m.gguf", PLAIN, note=notes.append)
    found = formats(tmp_path / "m.gguf")
    assert found[UP].step_bits == 3
    assert found["model.embed_tokens.weight"].step_bits == 4
    assert found["lm_head.weight"].step_bits == 4
    assert isinstance(found["model.norm.weight"], RawFormat)
    assert found[UP].rotation == 32
    assert found["model.layers.1.mlp.down_proj.weight"].rotation == 32  # of 96 columns
    assert "without feedback; --calibration helps much" in notes[-1]
    compress(llama, tmp_path / "n.gguf", replace(PLAIN, outer_bits=2))
    assert formats(tmp_path / "n.gguf")["lm_head.weight"].step_bits == 2


@pytest.mark.parametrize("finetune", ["none", "end-to-end"])
def test_embeddings_and_head_may_be_integers(
    llama: Path, text: Path, tmp_path: Path, finetune: Any
) -> None:
    """Beside linears that are tuned or not; the file is nearer to the original than by 4 bits."""
    settings = replace(TUNED, finetune=finetune, embedding_codec="uniform")
    for bits in (8, 4):
        compress(llama, tmp_path / f"{bits}", replace(settings, outer_bits=bits), text)
        found = formats(tmp_path / f"{bits}")
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            assert found.pop(name) == UniformFormat(bits, 32)
        assert {type(fmt) for fmt in found.values()} == {TrellisFormat, RawFormat}
    assert kl(tmp_path / "8", llama, text) < kl(tmp_path / "4", llama, text)


def test_feedback_and_rotation_come_nearer_to_the_original(
    llama: Path, text: Path, tmp_path: Path, statistics: Path
) -> None:
    """And a Hessian is worth more than its diagonal, an imatrix."""
    known = statistics / "statistics"
    compress(llama, tmp_path / "0", PLAIN)
    compress(llama, tmp_path / "1", PLAIN, statistics=known)
    compress(llama, tmp_path / "2", PLAIN, statistics=statistics / "imatrix.gguf")
    without, whole, diagonal = (kl(tmp_path / name, llama, text) for name in "012")
    assert whole < 0.8 * without
    assert whole < diagonal
    assert 0 < kl(tmp_path / "1", llama, text) < 0.1


@pytest.mark.parametrize("bits", TRELLIS_BITS)
@pytest.mark.parametrize("state_bits", [8, 10, 12, pytest.param(16, marks=pytest.mark.slow)])
def test_every_rate_has_a_trellis(tmp_path: Path, bits: float, state_bits: Any) -> None:
    model = write_model(tmp_path / "m", tiny_tensors())
    settings = TrellisSettings(bits=bits, state_bits=state_bits, outer_bits=bits)
    compress(model, tmp_path / "m.gguf", settings)
    fmt = formats(tmp_path / "m.gguf")["model.layers.0.mlp.up_proj.weight"]
    assert isinstance(fmt, TrellisFormat)
    assert fmt.step_bits / fmt.dim == bits
    assert fmt.state_bits == (state_bits if bits <= 4 else 12)


@pytest.mark.parametrize("entries", TABLE_ENTRIES)
def test_tables_of_every_size_and_of_kinds(llama: Path, tmp_path: Path, entries: int) -> None:
    settings = replace(PLAIN, table_entries=entries, refit=True)
    compress(llama, tmp_path / "m.gguf", settings)
    found = formats(tmp_path / "m.gguf")
    tables = {name: fmt.table for name, fmt in found.items() if isinstance(fmt, TrellisFormat)}
    assert {table.array.size for table in tables.values()} == {entries}
    assert len(set(tables.values())) == 9  # 7 kinds of linears, the embedding, the head
    assert tables[UP] == tables[UP.replace("1", "0")]


@pytest.mark.parametrize("bits", [7.0, 8.0])
def test_tables_of_high_rates_are_fitted_as_finely(tmp_path: Path, bits: float) -> None:
    """Of one Gaussian matrix: a fitted table is about as good as the known one."""
    weight = np.random.default_rng(0).standard_normal((64, 256), np.float32)
    folder = write_model(tmp_path / "model", {"a.weight": weight})
    errors = []
    for refit in (False, True):
        out = tmp_path / f"{refit}.gguf"
        compress(folder, out, TrellisSettings(bits=bits, refit=refit))
        with open_container(out) as container:
            error = native.decode(container.read("a.weight")).reshape(weight.shape) - weight
        errors.append(np.square(error).mean())
    assert errors[1] < 1.5 * errors[0]


@pytest.mark.parametrize("factor", [1e-42, 3e38])
def test_refitting_weights_that_no_trellis_holds(tmp_path: Path, factor: float) -> None:
    """They stay raw, and the other tensor of their kind gets its table all the same."""
    weight = np.random.default_rng(0).uniform(-1, 1, (64, 256)).astype(np.float32)
    tensors = {"b.0.up.weight": weight, "b.1.up.weight": weight * np.float32(factor)}
    folder = write_model(tmp_path / "model", tensors)
    compress(folder, tmp_path / "m.gguf", TrellisSettings(bits=2, refit=True))
    with open_container(tmp_path / "m.gguf") as container:
        found = [native.decode(container.read(name)).reshape(64, 256) for name in tensors]
        assert isinstance(container.read("b.1.up.weight").format, RawFormat)
    assert np.square(found[0] - weight).mean() < 0.1 * np.square(weight).mean()
    np.testing.assert_array_equal(found[1], tensors["b.1.up.weight"])


def test_critical_columns(llama: Path, text: Path, tmp_path: Path, statistics: Path) -> None:
    known = statistics / "statistics"
    settings = replace(PLAIN, critical=0.25, critical_bits=5)
    with pytest.raises(CompressError, match="need a calibration"):
        compress(llama, tmp_path / "m.gguf", settings)
    compress(llama, tmp_path / "m.gguf", settings, statistics=known)
    found = formats(tmp_path / "m.gguf")
    fmt = found[UP]
    assert isinstance(fmt, ColumnsFormat)
    assert fmt.n_critical == 8
    assert isinstance(fmt.critical, TrellisFormat)
    assert (fmt.critical.step_bits, fmt.critical.rotation, fmt.rest.rotation) == (5, 0, 8)
    assert isinstance(found["model.embed_tokens.weight"], TrellisFormat)
    assert 0 < kl(tmp_path / "m.gguf", llama, text) < 0.2


def test_error_bounds_hold_and_the_same_settings_give_the_same_bytes(
    llama: Path, tmp_path: Path, statistics: Path
) -> None:
    known = statistics / "statistics"
    first = compress(llama, tmp_path / "1", PLAIN, statistics=known)
    assert compress(llama, tmp_path / "2", PLAIN, statistics=known).sha256 == first.sha256
    other = compress(llama, tmp_path / "3", replace(PLAIN, seed=1), statistics=known)
    assert other.sha256 != first.sha256
    checkpoint = open_checkpoint(str(llama))
    from runtime_ops.native import decode

    with open_container(tmp_path / "1") as container:
        for entry in container.tensors:
            tensor = container.read(entry.name)
            source = checkpoint.source(entry.name)
            weights = source.read(0, math.prod(source.shape)).reshape(source.shape)
            largest = float(np.abs(decode(tensor).astype(np.float64) - weights).max())
            assert largest <= tensor.error_bound
            assert tensor.error_bound <= 1.0001 * largest + 1e-30


def test_first_codes_do_not_count_as_finished(tmp_path: Path) -> None:
    for i in (0, 2, 7):  # the last one behind all tensors
        (tmp_path / f"{i:06}.gguf").touch()
    assert finished_tensors(tmp_path, 5) == 2


def test_what_a_trellis_cannot_hold(tmp_path: Path) -> None:
    """Weights without a scale and matrices that would grow stay raw; NaN is an error."""
    tensors = tiny_tensors()
    names = [name for name, array in tensors.items() if array.ndim == 2]
    tensors[names[1]] *= np.float32(1e-30)
    tensors[names[2]][:] = 0
    tensors["small"] = np.ones((2, 3), np.float32)
    compress(write_model(tmp_path / "m", tensors), tmp_path / "m.gguf")
    found = formats(tmp_path / "m.gguf")
    assert isinstance(found[names[1]], RawFormat)
    assert isinstance(found[names[2]], TrellisFormat)
    assert isinstance(found["small"], RawFormat)
    tensors[names[3]][1, 2] = np.nan
    with pytest.raises(WeightError, match=f"tensor {names[3]}: weight 18 is nan"):
        compress(write_model(tmp_path / "n", tensors), tmp_path / "n.gguf")
    assert not (tmp_path / "n.gguf").exists()
    assert not work_folder_path(tmp_path / "n.gguf").exists()


def test_a_hessian_that_is_not_positive_definite(
    llama: Path, tmp_path: Path, statistics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgecomp.encode.trellis import tensor

    monkeypatch.setattr(tensor, "damped", lambda h, damping: -np.eye(len(h)))
    with pytest.raises(CompressError, match="its Hessian is not positive definite") as caught:
        compress(llama, tmp_path / "m.gguf", PLAIN, statistics=statistics / "statistics")
    assert "--damping" in caught.value.hint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bits", 0.5), ("bits", 4.5), ("bits", 9), ("bits", math.nan), ("outer_bits", 0.25),
        ("critical_bits", 9), ("state_bits", 9), ("table_entries", 32), ("damping", 0.0),
        ("damping", math.nan), ("critical", 0.6), ("importance", "obs"), ("finetune", "all"),
        ("epochs", 0.0), ("seed", -1), ("seed", 1 << 32), ("row_power", 2.0),
        ("embedding_codec", "crvq"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(field: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"{field} is"):
        replace(PLAIN, **{field: value})


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"finetune": "block"},
        {"finetune": "block", "move_codes": False},
        {"move_codes": False},
        {"critical": 0.25},
        {"bits": 1.5},
        {"feedback": False},
        {"rotate": False},
    ],
    ids=str,
)
def test_tuning_with_every_setting(
    llama: Path, text: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings = replace(TUNED, **changes)
    report = compress(llama, tmp_path / "m.gguf", settings, text)
    assert report.n_weights == report.encoded_weights
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf"]
    assert 0 < kl(tmp_path / "m.gguf", llama, text) < 1


@pytest.mark.slow
def test_tuning_comes_nearer_to_the_original(llama: Path, text: Path, tmp_path: Path) -> None:
    found = []
    for finetune in ("none", "block", "end-to-end"):
        settings = replace(TUNED, finetune=finetune, move_codes=False, epochs=20.0)
        compress(llama, tmp_path / finetune, settings, text)
        found.append(kl(tmp_path / finetune, llama, text))
    assert found[2] < 0.95 * found[1] < 0.95 * found[0]


def test_a_model_without_linears_to_tune(text: Path, tmp_path: Path) -> None:
    """GPT-2 stores them transposed; that shows before anything is gathered."""
    folder, out = save_small(tmp_path / "m", "gpt2"), tmp_path / "m.gguf"
    with pytest.raises(CompressError, match="m has no linear that can be tuned") as caught:
        compress(folder, out, TUNED, text)
    assert caught.value.hint == "leave --finetune out"
    assert not work_folder_path(out).exists()


def test_critical_columns_of_a_matrix_with_too_many(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", {"a.weight": np.zeros((16, 65540), np.float32)})
    settings = replace(PLAIN, critical=0.01, importance="weight")
    with pytest.raises(WeightError, match=r"tensor a\.weight: 65540 columns, expected") as caught:
        compress(folder, tmp_path / "m.gguf", settings)
    assert caught.value.hint == "leave --critical out"


def test_tuning_needs_a_text(llama: Path, tmp_path: Path, statistics: Path) -> None:
    with pytest.raises(CompressError, match="needs a calibration text"):
        compress(llama, tmp_path / "m.gguf", TUNED, statistics=statistics / "statistics")


def test_tuning_needs_whole_statistics(
    llama: Path, text: Path, tmp_path: Path, statistics: Path
) -> None:
    with pytest.raises(CalibrationError, match="is an imatrix"):
        compress(llama, tmp_path / "m.gguf", TUNED, text, statistics / "imatrix.gguf")


class Interrupted:
    """Progress that raises once a file of the work folder is there."""

    def __init__(self, out: Path, file: str) -> None:
        self.path = work_folder_path(out) / file

    def __call__(self, step: Step) -> None:
        if self.path.exists():
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "file", "damaged"),
    [
        (PLAIN, "000003.gguf", False),
        (PLAIN, "000003.gguf", True),
        (TUNED, "000003.gguf", False),
        (TUNED, "000030.gguf", False),  # a linear's first codes
        (TUNED, "statistics/index.json", True),
        (TUNED, "trellis-model.safetensors", False),
        (TUNED, "trellis-model.safetensors", True),
        (replace(TUNED, move_codes=False), "trellis-block-0000.safetensors", False),
        (replace(TUNED, move_codes=False), "trellis-block-0000.safetensors", True),
    ],
)
def test_interrupted_run_goes_on(
    llama: Path, text: Path, tmp_path: Path, settings: TrellisSettings, file: str, damaged: bool
) -> None:
    """To the same bytes, also where the disk damaged a file that is kept."""
    whole = compress(llama, tmp_path / "whole", settings, text).sha256
    out = tmp_path / "m.gguf"
    with pytest.raises(KeyboardInterrupt):
        compress(llama, out, settings, text, progress=Interrupted(out, file))
    assert not out.exists()
    kept = work_folder_path(out) / file
    assert kept.exists()
    if damaged:
        content = kept.read_bytes()
        kept.write_bytes(content[:-40] + bytes(40))
    assert compress(llama, out, settings, text).sha256 == whole
    assert not work_folder_path(out).exists()
