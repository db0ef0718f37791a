"""The road a model takes, one verb after the other. Start reading here.

calibrate  checkpoint + text -> statistics of what every linear reads
           checkpoint/, calibration/
compress   checkpoint -> encode every tensor -> GGUF container
           checkpoint/, encode/, compression/, exporters/gguf/
inspect    container -> what it holds
           inspection.py, exporters/gguf/
evaluate   container + original + text -> what was lost
           runtime_ops/, evaluation/
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgecomp.calibration import CalibrateReport, CalibrateSettings, calibrate_checkpoint
from edgecomp.checkpoint import Checkpoint, TokenizerError, open_checkpoint, tokenizer_keys
from edgecomp.compression import Calibration, CompressReport, compress_checkpoint
from edgecomp.encode import Settings, TrellisSettings
from edgecomp.evaluation import (
    Evaluation,
    EvaluationError,
    evaluate_models,
    load_compressed,
    load_original,
    read_tokens,
)
from edgecomp.inspection import Inspection, inspect_container, read_container
from edgecomp.progress import ProgressCallback

__all__ = ["calibrate", "compress", "evaluate", "inspect"]

SAME_MODEL = "compare a container with the model that it was made from"


def calibrate(
    model: str | Path,
    text: str | Path,
    out: str | Path,
    settings: CalibrateSettings | None = None,
    progress: ProgressCallback = lambda step: None,
    note: Callable[[str], None] = lambda line: None,
) -> CalibrateReport:
    """The report on the folder of statistics that this writes to `out`, from a UTF-8 text file.

    `settings` None means 256 windows of at most 512 tokens. Raises CheckpointError or
    CalibrationError; OSError or UnicodeDecodeError when the text cannot be read; an unfinished run
    is resumed by the same call.
    """
    checkpoint = open_checkpoint(str(model))
    return calibrate_checkpoint(checkpoint, Path(text), Path(out), settings, progress, note)


def compress(
    model: str | Path,
    out: str | Path,
    settings: Settings | None = None,
    progress: ProgressCallback = lambda step: None,
    note: Callable[[str], None] = lambda line: None,
    calibration: Calibration | None = None,
) -> CompressReport:
    """The report on the container that this writes to `out` for a model folder or hub id.

    `settings` None means trellis codes of 4 bits, which gain by a `calibration`; CRVQ needs one.
    Raises CheckpointError, CompressError, CalibrationError or WeightError (SettingsError comes from
    making `settings`); an unfinished run is resumed by the same call.
    """
    checkpoint = open_checkpoint(str(model))
    chosen = settings or TrellisSettings()
    return compress_checkpoint(checkpoint, chosen, Path(out), progress, note, calibration)


def inspect(
    path: str | Path, verify: bool = False, progress: ProgressCallback = lambda step: None
) -> Inspection:
    """What a container holds; with `verify`, its checksums are computed again.

    A wrong checksum is reported, not raised. Raises ContainerError for a file that is not a
    container, OSError when it cannot be read. Needs no torch.
    """
    return inspect_container(Path(path), verify, progress)


def evaluate(
    path: str | Path,
    against: str | Path,
    text: str | Path,
    windows: int | None = None,
    progress: ProgressCallback = lambda step: None,
) -> Evaluation:
    """The quality of a container beside the model it was made from, on a UTF-8 text file.

    `windows` None means the whole text. Raises CheckpointError, ContainerError, EvaluationError or
    NativeError; OSError or UnicodeDecodeError when a file cannot be read.
    """
    checkpoint = open_checkpoint(str(against))
    if checkpoint.tokenizer is None:
        raise EvaluationError(f"{against} has no tokenizer.json", "put the model's tokenizer there")
    check_same_model(Path(path), checkpoint)
    tokens = read_tokens(checkpoint.tokenizer, Path(text).read_text(encoding="utf-8"))
    original = load_original(checkpoint)
    candidates = {Path(path).name: load_compressed(Path(path))}
    return evaluate_models(candidates, original, tokens, windows, progress)


def check_same_model(path: Path, checkpoint: Checkpoint) -> None:
    """EvaluationError when a container's vocabulary or tensors are not the checkpoint's."""
    with read_container(path) as container:
        stored = container.metadata.get("tokenizer.ggml.tokens")
        shapes = {entry.name: entry.shape for entry in container.tensors}
    if stored is not None:  # else a tokenizer that the keys cannot express; compress said so
        check_same_tokens(path, checkpoint, stored)
    expected = {entry.name: entry.shape for entry in checkpoint.tensors}
    for name in sorted(shapes.keys() | expected.keys()):
        found, wanted = shapes.get(name), expected.get(name)
        if found != wanted:
            raise EvaluationError(
                f"{path} and {checkpoint.folder} are different models: tensor {name} "
                f"{there(found)} in the container, {there(wanted)} in the original",
                SAME_MODEL,
            )


def there(shape: tuple[int, ...] | None) -> str:
    """How an error says what a tensor's shape is, or that there is none."""
    return "is missing" if shape is None else f"is {list(shape)}"


def check_same_tokens(path: Path, checkpoint: Checkpoint, stored: object) -> None:
    """EvaluationError when the tokens that a container stores are not the checkpoint's."""
    vocab_size = checkpoint.config.get("vocab_size")
    try:
        keys = tokenizer_keys(
            checkpoint.folder, vocab_size if isinstance(vocab_size, int) else None
        )
    except TokenizerError as error:
        raise EvaluationError(
            f"{path} has a vocabulary, the one of {checkpoint.folder} cannot be read: {error}",
            SAME_MODEL,
        ) from error
    if keys.get("tokenizer.ggml.tokens") != stored:
        raise EvaluationError(
            f"{path} and {checkpoint.folder} have different vocabularies", SAME_MODEL
        )
