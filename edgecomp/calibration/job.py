"""A calibration from start to end: a model and a text become a folder of statistics."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp.calibration.errors import CalibrationError
from edgecomp.calibration.fingerprint import model_fingerprint
from edgecomp.calibration.folder import open_folder
from edgecomp.calibration.gather import GatherJob, gather
from edgecomp.calibration.imatrix import check_output, ggml_names, write_imatrix
from edgecomp.calibration.settings import (
    CalibrateSettings,
    check_windows,
    choose_context,
    choose_device,
)
from edgecomp.calibration.statistics import index_text, open_statistics
from edgecomp.calibration.streaming import StreamedNetwork, open_streamed
from edgecomp.calibration.windows import cut_windows
from edgecomp.checkpoint import Checkpoint, CheckpointError
from edgecomp.evaluation import read_tokens
from edgecomp.inputs import Inputs
from edgecomp.progress import ProgressCallback

__all__ = ["CalibrateReport", "calibrate_checkpoint"]

JOB_VERSION = 1


@dataclass(frozen=True)
class CalibrateReport:
    """What a calibration made."""

    path: Path
    file_bytes: int
    windows: int
    context: int
    tokens: int
    n_blocks: int
    n_sites: int
    n_tensors: int
    resumed_blocks: int  # taken from an earlier run
    device: str
    seconds: float
    imatrix: Path | None
    notes: tuple[str, ...]  # every line for the user, in order


def calibrate_checkpoint(
    checkpoint: Checkpoint,
    text: Path,
    out: Path,
    settings: CalibrateSettings | None = None,
    progress: ProgressCallback = lambda step: None,
    note: Callable[[str], None] = lambda line: None,
) -> CalibrateReport:
    """The report on the folder of statistics that this writes to `out`.

    Finished blocks stay in the folder, so a run that was killed goes on at the first block that is
    not finished. The same model, text, device and number of threads give the same bytes. Raises
    CalibrationError or CheckpointError; OSError or UnicodeDecodeError when the text cannot be read.
    """
    settings = settings or CalibrateSettings()
    notes: list[str] = []

    def tell(line: str) -> None:
        notes.append(line)
        note(line)

    inputs = Inputs(checkpoint, text)
    if inputs.inside(out) is not None:
        raise CalibrationError(f"{text} lies in {out}, which is written", "give a new folder")
    if settings.imatrix is not None:
        check_output(settings.imatrix, out, inputs)
        ggml_names(checkpoint)
    device = choose_device(settings.device)
    raw = text.read_bytes()
    decoded = raw.decode("utf-8")
    network = open_streamed(checkpoint, device)
    tokens = windows_of(network, decoded, settings, tell)
    job = job_text(checkpoint, hashlib.sha256(raw).hexdigest(), tokens)
    started = time.perf_counter()
    resumed = fill_folder(network, tokens, out, job, (progress, tell))
    statistics = open_statistics(out, checkpoint)
    if settings.imatrix is not None:
        write_imatrix(statistics, checkpoint, settings.imatrix, text.name, tell)
    return CalibrateReport(
        path=out,
        file_bytes=sum(file.stat().st_size for file in out.iterdir()),
        windows=tokens.shape[0],
        context=tokens.shape[1],
        tokens=tokens.size,
        n_blocks=network.n_blocks,
        n_sites=len(statistics.sites),
        n_tensors=len(statistics.tensors),
        resumed_blocks=min(resumed, network.n_blocks),
        device=device,
        seconds=time.perf_counter() - started,
        imatrix=settings.imatrix,
        notes=tuple(notes),
    )


def fill_folder(
    network: StreamedNetwork,
    tokens: NDArray[np.int64],
    out: Path,
    job: str,
    listeners: tuple[ProgressCallback, Callable[[str], None]],
) -> int:
    """Makes the folder complete; returns how many of its files were there before."""
    progress, note = listeners
    try:
        with open_folder(out, job) as folder:
            if folder.restarted:
                note(
                    "starting over: model, text or options differ from those of the unfinished run"
                )
            try:
                with memory_errors(network):
                    sites, done = gather(GatherJob(network, tokens, folder, progress, note))
            except CheckpointError:
                folder.remove()  # what is finished belongs to weights that must be repaired
                raise
            if folder.complete:
                note(f"{out} is complete already")
            else:
                folder.finish(index_text(json.loads(job), tokens.size, sites))
            return done
    except OSError as error:
        kept = len(list(out.glob("*.safetensors"))) if out.is_dir() else 0
        raise CalibrationError(
            f"{error.filename or out}: {error.strerror or error}",
            f"mend the cause and start again: {kept} finished blocks are kept"
            if kept
            else "check that the folder is writable and has free space",
        ) from error


def windows_of(
    network: StreamedNetwork,
    text: str,
    settings: CalibrateSettings,
    note: Callable[[str], None],
) -> NDArray[np.int64]:
    """The windows that are read, int64 (windows, context)."""
    checkpoint = network.checkpoint
    check_windows(settings.windows)
    context = choose_context(settings.context, network.context)
    if checkpoint.tokenizer is None:
        raise CalibrationError(
            f"{checkpoint.folder} has no tokenizer.json", "put the model's tokenizer there"
        )
    tokens = read_tokens(checkpoint.tokenizer, text)
    windows = cut_windows(tokens, settings.windows, context, network.vocab_size)
    if windows.shape[0] < settings.windows:
        note(f"the text has {windows.shape[0]} windows of {context} tokens: all are read")
    return windows


def job_text(checkpoint: Checkpoint, text_sha256: str, tokens: NDArray[np.int64]) -> str:
    """What decides the statistics, as JSON."""
    return json.dumps(
        {
            "version": JOB_VERSION,
            "model": model_fingerprint(checkpoint),
            "text_sha256": text_sha256,
            "tokens_sha256": hashlib.sha256(tokens.astype("<i8").tobytes()).hexdigest(),
            "windows": tokens.shape[0],
            "context": tokens.shape[1],
        }
    )


@contextlib.contextmanager
def memory_errors(network: StreamedNetwork) -> Iterator[None]:
    """CalibrationError for a device that has not enough memory."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).splitlines()[0]
        raise CalibrationError(
            f"{network.device} has not enough memory: {reason}",
            "try --device cpu, or a smaller --context",
        ) from error
