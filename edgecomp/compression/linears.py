"""The linears of all blocks, where a codec codes them together: what they are, what they read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgecomp.calibration import (
    CalibrateSettings,
    Statistics,
    calibrate_checkpoint,
    open_statistics,
    open_streamed,
)
from edgecomp.calibration.folder import INDEX
from edgecomp.calibration.settings import choose_context, choose_device
from edgecomp.calibration.windows import cut_windows
from edgecomp.checkpoint import Checkpoint, TensorEntry, context_length
from edgecomp.compression.checks import CompressError
from edgecomp.compression.fingerprint import sha256_of
from edgecomp.compression.workfolder import WorkFolder
from edgecomp.encode import CrvqSettings, IndefiniteError, TrellisSettings
from edgecomp.evaluation import build_model, load_original, read_tokens
from edgecomp.progress import ProgressCallback
from runtime_ops.formats import EncodedTensor
from runtime_ops.native import decode

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "Calibration",
    "LinearsJob",
    "indefinite_error",
    "open_linears",
    "original_network",
    "student_network",
    "tuning_errors",
    "usable_statistics",
]

DEFAULT_CONTEXT = 256  # tokens in a window, where the model can read as many


@dataclass(frozen=True)
class Calibration:
    """The text that a codec learns from; `statistics` of an earlier calibration, if there are any.

    `windows` are those of `edgecomp calibrate`, `context` are the tokens in one, there and in
    tuning (None: 256, or the model's context if shorter); `device` is where torch works.
    `statistics` may be an imatrix of llama.cpp; who only looks at statistics needs no text beside
    them.
    """

    text: Path | None
    statistics: Path | None = None
    windows: int = 512
    context: int | None = None
    device: str = "auto"

    @property
    def fingerprint(self) -> dict[str, object]:
        """What of it decides the output's bytes; OSError when a file cannot be read."""
        statistics = self.statistics
        if statistics is not None and statistics.is_dir():
            index = statistics / INDEX
            statistics = index if index.is_file() else None  # not finished: refused when opened
        return {
            "text": None if self.text is None else sha256_of(self.text),
            "statistics": None if statistics is None else sha256_of(statistics),
            "windows": self.windows,
            "context": self.context,
        }


@dataclass(frozen=True)
class LinearsJob:
    """What is coded, with what, and whom it tells.

    `names` are the tensors that are coded together, `tokens` int64 (windows, length) is the text.
    """

    checkpoint: Checkpoint
    settings: CrvqSettings | TrellisSettings
    calibration: Calibration
    statistics: Statistics
    names: tuple[str, ...]
    tokens: NDArray[np.int64]
    folder: WorkFolder
    progress: ProgressCallback
    note: Callable[[str], None]

    def index(self, name: str) -> int:
        """The position of a tensor in the checkpoint."""
        return next(i for i, e in enumerate(self.checkpoint.tensors) if e.name == name)


def open_linears(
    checkpoint: Checkpoint,
    settings: CrvqSettings | TrellisSettings,
    calibration: Calibration | None,
    folder: WorkFolder,
    tell: tuple[ProgressCallback, Callable[[str], None]],
) -> LinearsJob:
    """The job, with statistics that were given or are gathered now into the work folder.

    What cannot be done is found out before that.
    """
    progress, note = tell
    if calibration is None or calibration.text is None:
        tunes = isinstance(settings, TrellisSettings)
        what = f"tuning {settings.finetune}" if tunes else "the codec crvq"
        raise CompressError(
            f"{what} needs a calibration text",
            "give --calibration a UTF-8 text file",
        )
    names = coded_names(checkpoint, settings, note)
    tokens = tuning_windows(checkpoint, calibration, calibration.text)
    statistics = usable_statistics(checkpoint, calibration, folder, tell)
    statistics.hessian(names[0])  # an imatrix has none
    return LinearsJob(
        checkpoint, settings, calibration, statistics, names, tokens, folder, progress, note
    )


def coded_names(
    checkpoint: Checkpoint,
    settings: CrvqSettings | TrellisSettings,
    note: Callable[[str], None],
) -> tuple[str, ...]:
    """The linears of all blocks that are coded together; CompressError when there are none."""
    network = open_streamed(checkpoint)
    names: list[str] = []
    transposed: list[str] = []
    for i in range(network.n_blocks):
        for site in network.linear_sites(i):
            (transposed if site.transposed else names).extend(site.tensors)
    if not names:
        crvq = isinstance(settings, CrvqSettings)
        raise CompressError(
            f"{checkpoint.name} has no linear that {'CRVQ can code' if crvq else 'can be tuned'}",
            "use --codec trellis" if crvq else "leave --finetune out",
        )
    if transposed:
        note(
            f"{len(transposed)} tensors such as {transposed[0]} are stored transposed: "
            "they are coded like embeddings"
        )
    return tuple(names)


def usable_statistics(
    checkpoint: Checkpoint,
    calibration: Calibration,
    folder: WorkFolder,
    tell: tuple[ProgressCallback, Callable[[str], None]],
) -> Statistics:
    """The statistics that were given, else those of the text, gathered now into the work folder."""
    if calibration.statistics is not None:
        return open_statistics(calibration.statistics, checkpoint)
    if calibration.text is None:
        raise CompressError(
            "a calibration without a text and without statistics",
            "give --calibration a UTF-8 text file, or --statistics",
        )
    folder.drop_damaged_statistics()
    context = window_context(checkpoint, calibration)
    how = CalibrateSettings(calibration.windows, context, calibration.device)
    calibrate_checkpoint(checkpoint, calibration.text, folder.statistics, how, *tell)
    return open_statistics(folder.statistics, checkpoint)


LESS_MEMORY = {
    "end-to-end": "give --finetune block, --device cpu or a smaller --context",
    "block": "give --finetune none, --device cpu or a smaller --context",
    "none": "give --device cpu or a smaller --context",
}


@contextmanager
def tuning_errors(settings: CrvqSettings | TrellisSettings) -> Iterator[None]:
    """CompressError in place of what ends a run whose linears are coded together."""
    import torch

    from edgecomp.tuning.tuner import TuningError

    try:
        yield
    except IndefiniteError as error:
        raise indefinite_error(str(error), settings) from error
    except TuningError as error:
        raise CompressError(
            f"tuning failed: {error}", "give a longer --calibration text, or --finetune none"
        ) from error
    except torch.OutOfMemoryError as error:
        reason = str(error).splitlines()[0]
        raise CompressError(
            f"the device has not enough memory: {reason}", LESS_MEMORY[settings.finetune]
        ) from error


def indefinite_error(message: str, settings: CrvqSettings | TrellisSettings) -> CompressError:
    """What the user is told of a Hessian that is not positive definite."""
    usual = type(settings)().damping
    hint = f"give --damping {usual}"
    if settings.damping >= usual:
        hint = "give a larger --damping, or statistics of a longer --calibration text"
    return CompressError(f"{message} with a damping of {settings.damping:g}", hint)


def window_context(checkpoint: Checkpoint, calibration: Calibration) -> int:
    """Tokens in a window; CalibrationError for more than the model reads."""
    longest = context_length(checkpoint.config)
    return choose_context(calibration.context, longest, DEFAULT_CONTEXT)


def tuning_windows(
    checkpoint: Checkpoint, calibration: Calibration, text: Path
) -> NDArray[np.int64]:
    """All windows of the calibration text, int64 (windows, length)."""
    if checkpoint.tokenizer is None:
        raise CompressError(
            f"{checkpoint.folder} has no tokenizer.json", "put the model's tokenizer there"
        )
    tokens = read_tokens(checkpoint.tokenizer, text.read_bytes().decode("utf-8"))
    context = window_context(checkpoint, calibration)
    vocab_size = checkpoint.config.get("vocab_size")
    most = vocab_size if isinstance(vocab_size, int) else int(tokens.max(initial=0)) + 1
    return cut_windows(tokens, max(1, tokens.size // context), context, most)


def original_network(job: LinearsJob) -> nn.Module:
    """The network of the checkpoint, float32, on the device that the job works on."""
    network: nn.Module = load_original(job.checkpoint).network
    return network.to(choose_device(job.calibration.device))


def student_network(job: LinearsJob) -> nn.Module:
    """The network with the tensors outside of the linears as they are stored."""
    network: nn.Module = build_model(
        job.checkpoint.name, job.checkpoint.config, list_weights(job)
    ).network
    return network.to(choose_device(job.calibration.device))


def list_weights(job: LinearsJob) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Every tensor of the student, float32; the linears' are the original's, and never used."""
    linears = set(job.names)
    for i, entry in enumerate(job.checkpoint.tensors):
        yield entry.name, student_weight(job, i, entry, entry.name in linears)


def student_weight(
    job: LinearsJob, i: int, entry: TensorEntry, is_linear: bool
) -> NDArray[np.float32]:
    """One tensor of the student, float32."""
    if is_linear or len(entry.shape) < 2:
        return job.checkpoint.source(entry.name).read(0, entry.n_weights).reshape(entry.shape)
    stored: EncodedTensor = job.folder.load(i, entry.name)
    return decode(stored)
