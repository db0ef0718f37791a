"""A checkpoint into a container: tensor by tensor, in bounded memory, and resumable."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from importlib.metadata import version
from pathlib import Path

from edgecomp.checkpoint import Checkpoint, TokenizerError, hyperparameters, tokenizer_keys
from edgecomp.compression.workfolder import (
    WorkFolder,
    WorkFolderBusyError,
    open_work_folder,
    work_folder_path,
)
from edgecomp.encode import PaperSettings, Settings, WeightError, encode
from edgecomp.progress import ProgressCallback, Step
from exporters.bundle import ModelBundle, TensorSource
from exporters.gguf import ContainerError, write_container

__all__ = ["CompressError", "CompressReport", "compress_checkpoint"]


class CompressError(ValueError):
    """A compression that cannot start or go on; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class CompressReport:
    """What a compression made. Times are this run's and are never stored in the container."""

    path: Path
    sha256: str  # of the file
    file_bytes: int
    n_weights: int  # of the original model
    n_tensors: int
    resumed_tensors: int  # taken from an earlier, unfinished run
    encoded_weights: int  # by this run
    encode_seconds: float
    write_seconds: float
    notes: tuple[str, ...]

    @property
    def bpw(self) -> float:
        """Whole-file bits per weight of the original."""
        return 8 * self.file_bytes / self.n_weights


def compress_checkpoint(
    checkpoint: Checkpoint,
    settings: Settings,
    out: Path,
    progress: ProgressCallback = lambda step: None,
    note: Callable[[str], None] = lambda line: None,
) -> CompressReport:
    """The report on the container that this writes to `out`.

    Finished tensors are kept in a work folder beside `out` until the container is complete, so a
    run that was killed goes on where it was. The same checkpoint and settings give the same bytes.
    `note` gets lines for the user. Raises CompressError, or WeightError for weights that are not
    finite; nothing is left at `out` then that was not there before.
    """
    check_output(out, checkpoint)
    out = out.resolve()  # a link stays, the file behind it is replaced
    job = Job(checkpoint, settings, out, progress, note)
    try:
        with open_work_folder(out, job_text(checkpoint, settings)) as folder:
            if folder.restarted:
                note("starting over: settings or model differ from those of the unfinished run")
            for line in checkpoint.notes:
                note(line)
            check_space(job, folder)
            return run(job, folder)
    except WorkFolderBusyError as error:
        raise CompressError(str(error), "wait for it, or give another output") from error
    except ContainerError as error:
        raise CompressError(
            f"{checkpoint.name} does not fit into a container: {error}",
            "docs/format.md lists the limits of names and sizes",
        ) from error
    except OSError as error:
        kept = len(list(work_folder_path(out).glob("*.gguf")))
        raise CompressError(
            f"{error.filename or out}: {error.strerror or error}",
            f"mend the cause and start again: {kept} finished tensors are kept"
            if kept
            else "check that the folder is writable and has free space",
        ) from error


@dataclass(frozen=True)
class Job:
    """What a run works on and whom it tells."""

    checkpoint: Checkpoint
    settings: Settings
    out: Path
    progress: ProgressCallback
    note: Callable[[str], None]


def run(job: Job, folder: WorkFolder) -> CompressReport:
    """Encodes what is not finished yet, writes the container and removes the work folder."""
    checkpoint = job.checkpoint
    encoded_weights, resumed, encode_seconds = encode_tensors(job, folder)
    started = time.perf_counter()
    write(job, folder)
    write_seconds = time.perf_counter() - started
    folder.remove()
    return CompressReport(
        path=job.out,
        sha256=sha256_of(job.out),
        file_bytes=job.out.stat().st_size,
        n_weights=checkpoint.n_weights,
        n_tensors=len(checkpoint.tensors),
        resumed_tensors=resumed,
        encoded_weights=encoded_weights,
        encode_seconds=encode_seconds,
        write_seconds=write_seconds,
        notes=checkpoint.notes,
    )


def encode_tensors(job: Job, folder: WorkFolder) -> tuple[int, int, float]:
    """Saves every tensor's codes in the work folder.

    Returns the weights encoded now, the tensors that were there already, and the seconds spent.
    """
    tensors = job.checkpoint.tensors
    finished = {i for i, entry in enumerate(tensors) if folder.finished(i, entry.name)}
    done_bytes = sum(tensors[i].n_bytes for i in finished)
    done = len(finished)
    if finished:
        job.note(f"going on with {done} of {len(tensors)} tensors finished before")
    seconds = 0.0
    weights = 0
    for i, entry in enumerate(tensors):
        if i in finished:
            continue
        job.progress(
            Step("encode", entry.name, done, len(tensors), done_bytes, job.checkpoint.n_bytes)
        )
        started = time.perf_counter()
        try:
            encoded = encode(job.checkpoint.source(entry.name), job.settings)
        except WeightError as error:
            folder.remove()
            raise WeightError(f"tensor {entry.name}: {error}") from error
        seconds += time.perf_counter() - started
        folder.save(i, entry.name, encoded)
        weights += entry.n_weights
        done += 1
        done_bytes += entry.n_bytes
    job.progress(Step("encode", "", done, len(tensors), done_bytes, job.checkpoint.n_bytes))
    return weights, len(finished), seconds


def write(job: Job, folder: WorkFolder) -> None:
    """Writes the container in the work folder, from its finished tensors, and moves it to `out`.

    So whatever is left by a run that was killed here lies in the work folder too.
    """
    n_tensors = len(job.checkpoint.tensors)

    def show(done_bytes: int, all_bytes: int) -> None:
        job.progress(Step("write", "", n_tensors, n_tensors, done_bytes, all_bytes))

    complete = folder.path / "complete"
    write_container(bundle_of(job, folder), complete, show)
    os.replace(complete, job.out)


def bundle_of(job: Job, folder: WorkFolder) -> ModelBundle:
    """The finished tensors with everything that makes them a model."""
    checkpoint = job.checkpoint
    vocab_size = checkpoint.config.get("vocab_size")
    try:
        tokenizer = tokenizer_keys(
            checkpoint.folder, vocab_size if isinstance(vocab_size, int) else None
        )
    except TokenizerError as error:
        job.note(f"the tokenizer is not stored: {error}")
        tokenizer = {}
    return ModelBundle(
        name=checkpoint.name,
        tensors=tuple(
            TensorSource(entry.name, partial(folder.load, i, entry.name))
            for i, entry in enumerate(checkpoint.tensors)
        ),
        settings=settings_text(job.settings),
        model=hyperparameters(checkpoint.config),
        tokenizer=tokenizer,
    )


def settings_text(settings: Settings) -> str:
    """The settings as JSON with sorted keys: codec, preset and the preset's fields."""
    values: dict[str, object] = {"codec": settings.codec, "preset": settings.preset}
    for field in fields(settings):
        value = getattr(settings, field.name)
        is_float = "float" in str(field.type) and value is not None
        values[field.name] = float(value) if is_float else value  # bits=4 and bits=4.0 are the same
    return json.dumps(values, sort_keys=True)


def job_text(checkpoint: Checkpoint, settings: Settings) -> str:
    """What decides the output's bytes, as JSON: version, settings and a fingerprint of the model.

    A shard counts as unchanged while its name, size, modification time and header are the same.
    """
    texts = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    files = {
        name: sha256_of(checkpoint.folder / name)
        for name in texts
        if (checkpoint.folder / name).is_file()
    }
    shards = {}
    for shard in checkpoint.shards:
        status = shard.stat()
        entries = [
            (entry.name, entry.dtype, entry.shape, entry.offset)
            for entry in checkpoint.tensors
            if entry.shard == shard
        ]
        shards[shard.name] = [status.st_size, status.st_mtime_ns, entries]
    return json.dumps(
        {
            "edgecomp": version("edgecomp"),
            "name": checkpoint.name,
            "settings": settings_text(settings),
            "files": files,
            "shards": shards,
        },
        indent=1,
    )


def check_output(out: Path, checkpoint: Checkpoint) -> None:
    """CompressError unless a new file may be put at `out`."""
    if out.is_dir():
        raise CompressError(f"{out} is a folder, expected a file name", f"try {out / 'model.gguf'}")
    if out.exists() and not out.is_file():
        raise CompressError(f"{out} is not a regular file", "give the name of a file on a disk")
    if not out.parent.is_dir():
        raise CompressError(f"no folder {out.parent}", f"mkdir -p {out.parent}")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise CompressError(f"{out.parent} is not writable", "choose another folder")
    model_files = [*checkpoint.shards, *checkpoint.folder.glob("*.json")]
    if out.exists() and any(out.samefile(file) for file in model_files):
        raise CompressError(f"{out} is a file of the model", "give another output name")


def check_space(job: Job, folder: WorkFolder) -> None:
    """CompressError when the disk has not enough room for the work folder and the container."""
    estimate = estimated_bytes(job.checkpoint, job.settings)
    needed = max(0, 2 * estimate - folder.n_bytes())
    free = shutil.disk_usage(job.out.parent).free
    if free < needed:
        raise CompressError(
            f"{job.out.parent} has {free / 1e6:.0f} MB free, "
            f"about {needed / 1e6:.0f} MB are needed",
            "free space or choose another disk (finished tensors are kept until the end)",
        )


def estimated_bytes(checkpoint: Checkpoint, settings: Settings) -> int:
    """About the size of the container: the codes at the settings' rate, and the tokenizer."""
    tokenizer = checkpoint.tokenizer.stat().st_size if checkpoint.tokenizer else 0
    return int(checkpoint.n_weights * expected_bpw(settings) / 8) + tokenizer


def expected_bpw(settings: Settings) -> float:
    """About the bits per weight that the settings lead to, scales included."""
    if isinstance(settings, PaperSettings):
        return math.ceil(math.log2((max(settings.points) + 1) * (settings.classes + 1))) / 2
    scale_bits = 8 / settings.chosen_group
    return math.log2(settings.chosen_points) / settings.chosen_dim + scale_bits


def sha256_of(path: Path) -> str:
    """The hexadecimal sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
