"""Encodes a checkpoint's tensors one by one, then writes the container."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from edgecomp.calibration import Statistics
from edgecomp.calibration.settings import choose_device
from edgecomp.checkpoint import Checkpoint, TensorEntry
from edgecomp.compression.checks import CompressError, check_output, check_space
from edgecomp.compression.counted_source import CountedSource
from edgecomp.compression.fingerprint import job_text, sha256_of
from edgecomp.compression.linears import (
    Calibration,
    LinearsJob,
    indefinite_error,
    open_linears,
)
from edgecomp.compression.model_keys import accepted_bundle
from edgecomp.compression.report import CompressReport, RawTensor, raw_reason
from edgecomp.compression.tensor_settings import input_statistics, tensor_settings
from edgecomp.compression.trellis_tables import fitted_codes
from edgecomp.compression.tuned_crvq import encode_crvq
from edgecomp.compression.tuned_trellis import encode_tuned
from edgecomp.compression.workfolder import (
    ForeignFolderError,
    WorkFolder,
    WorkFolderBusyError,
    finished_tensors,
    open_work_folder,
    work_folder_path,
)
from edgecomp.disk import sync_folder
from edgecomp.encode import (
    CrvqSettings,
    IndefiniteError,
    Settings,
    TrellisSettings,
    WeightError,
    encode,
)
from edgecomp.encode.trellis.codes import TrellisCode
from edgecomp.encode.trellis.tensor import encode_trellis
from edgecomp.inputs import Inputs
from edgecomp.progress import ProgressCallback, Step
from exporters.bundle import ModelBundle, TensorSource
from exporters.gguf import ContainerError, open_container, write_container
from runtime_ops.formats import EncodedTensor, FormatError, RawFormat

__all__ = ["compress_checkpoint"]


@dataclass(frozen=True)
class Job:
    """What a run works on and whom it tells."""

    checkpoint: Checkpoint
    settings: Settings
    out: Path
    progress: ProgressCallback
    note: Callable[[str], None]
    calibration: Calibration | None
    codes: Mapping[str, TrellisCode] = field(default_factory=dict)  # fitted to kinds of tensors
    device: str = "cpu"  # where trellis codes are looked for
    statistics: Statistics | None = None  # that tensors are encoded with, once they are open


def compress_checkpoint(
    checkpoint: Checkpoint,
    settings: Settings,
    out: Path,
    progress: ProgressCallback = lambda step: None,
    note: Callable[[str], None] = lambda line: None,
    calibration: Calibration | None = None,
) -> CompressReport:
    """The report on the container that this writes to `out`.

    CRVQ, and critical columns by activation, need a `calibration`; trellis codes gain by one.

    Finished tensors are kept in a work folder beside `out` until the container is complete, so a
    run that was killed goes on where it was. The same checkpoint and settings give the same bytes.
    `note` gets lines for the user, which are in the report too. Raises CompressError, also when
    tuning diverges; WeightError for weights that are not finite; CheckpointError for a config or a
    weight file, CalibrationError, OSError or UnicodeDecodeError for a calibration that cannot be
    used. Nothing is left at `out` then that was not there before.
    """
    text, statistics = (
        (calibration.text, calibration.statistics) if calibration is not None else (None, None)
    )
    check_output(out, Inputs(checkpoint, text, statistics))
    out = out.resolve()  # a link stays, the file behind it is replaced
    notes: list[str] = []

    def tell(line: str) -> None:
        notes.append(line)
        note(line)

    job = Job(checkpoint, settings, out, progress, tell, calibration)
    learned = calibration.fingerprint if calibration is not None else {}
    try:
        with open_work_folder(out, job_text(checkpoint, settings, learned)) as folder:
            if folder.restarted:
                tell("starting over: settings or model differ from those of the unfinished run")
            for line in checkpoint.notes:
                tell(line)
            check_space(checkpoint, settings, folder)
            return replace(run(job, folder), notes=tuple(notes))
    except WorkFolderBusyError as error:
        raise CompressError(str(error), "wait for it, or give another output") from error
    except ContainerError as error:
        raise CompressError(
            f"{checkpoint.name} does not fit into a container: {error}",
            "docs/format.md lists the limits of names and sizes",
        ) from error
    except ForeignFolderError as error:
        raise CompressError(f"{error.filename}: {error.strerror}", "move it away") from error
    except OSError as error:
        kept = finished_tensors(work_folder_path(out), len(checkpoint.tensors))
        raise CompressError(
            f"{error.filename or out}: {error.strerror or error}",
            f"mend the cause and start again: {kept} finished tensors are kept"
            if kept
            else "check that the folder is writable and has free space",
        ) from error


def run(job: Job, folder: WorkFolder) -> CompressReport:
    """Encodes what is not finished yet, writes the container and removes the work folder."""
    checkpoint = job.checkpoint
    bundle = accepted_bundle(checkpoint, job.settings, folder.path / "complete", job.note)
    tell = (job.progress, job.note)
    linears = linears_job(job, folder)
    gathered = None if linears is None else linears.statistics
    ranked_by = input_statistics(checkpoint, job.settings, job.calibration, folder, tell, gathered)
    codes = fitted_codes(checkpoint, job.settings)
    device = "cpu" if job.calibration is None else choose_device(job.calibration.device)
    job = replace(job, statistics=ranked_by, codes=codes, device=device)
    skipped = set() if linears is None else set(linears.names)
    encoded_weights, resumed, encode_seconds = encode_tensors(job, folder, skipped)
    if linears is not None:
        started = time.perf_counter()
        encoded_weights += encode_together(job, linears, folder)
        encode_seconds += time.perf_counter() - started
    started = time.perf_counter()
    write(job, folder, bundle)
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
        raw=raw_tensors(job),
        notes=(),
    )


def linears_job(job: Job, folder: WorkFolder) -> LinearsJob | None:
    """The linears that are coded together, where the codec does so."""
    settings = job.settings
    together = isinstance(settings, CrvqSettings)
    if isinstance(settings, TrellisSettings):
        together = settings.finetune != "none"
    if not together or not isinstance(settings, CrvqSettings | TrellisSettings):
        return None
    tell = (job.progress, job.note)
    return open_linears(job.checkpoint, settings, job.calibration, folder, tell)


def encode_together(job: Job, linears: LinearsJob, folder: WorkFolder) -> int:
    """Saves the codes of all linears in the work folder; returns the linears' weights."""
    if isinstance(job.settings, CrvqSettings):
        return encode_crvq(linears)

    def encode_first(entry: TensorEntry) -> EncodedTensor:
        place = linears.names.index(entry.name)
        step = Step("first codes", entry.name, place, len(linears.names))
        return encode_checked(job, folder, entry, step)

    return encode_tuned(linears, encode_first)


def encode_tensors(job: Job, folder: WorkFolder, skipped: set[str]) -> tuple[int, int, float]:
    """Saves every tensor's codes in the work folder, but for those that are coded together.

    Returns the weights encoded now, the tensors that were there already, and the seconds spent.
    """
    tensors = tuple(entry for entry in job.checkpoint.tensors if entry.name not in skipped)
    places = {entry.name: i for i, entry in enumerate(job.checkpoint.tensors)}
    finished = {
        i for i, entry in enumerate(tensors) if folder.finished(places[entry.name], entry.name)
    }
    step = Step(
        stage="encode",
        item="",
        items_done=len(finished),
        items=len(tensors),
        bytes_done=sum(tensors[i].n_bytes for i in finished),
        bytes=sum(entry.n_bytes for entry in tensors),
    )
    if finished:
        job.note(f"going on with {len(finished)} of {len(tensors)} tensors finished before")
    seconds = 0.0
    weights = 0
    for i, entry in enumerate(tensors):
        if i in finished:
            continue
        step = replace(step, item=entry.name)
        started = time.perf_counter()
        encoded = encode_checked(job, folder, entry, step)
        seconds += time.perf_counter() - started
        folder.save(places[entry.name], entry.name, encoded)
        weights += entry.n_weights
        step = replace(
            step, items_done=step.items_done + 1, bytes_done=step.bytes_done + entry.n_bytes
        )
    job.progress(replace(step, item=""))
    return weights, len(finished), seconds


def encode_checked(job: Job, folder: WorkFolder, entry: TensorEntry, step: Step) -> EncodedTensor:
    """The tensor's codes; bad input ends the run for good, so the work folder goes then."""
    try:
        return encode_tensor(job, entry, step)
    except WeightError as error:
        folder.remove()
        raise WeightError(f"tensor {entry.name}: {error}", error.hint) from error
    except IndefiniteError as error:
        folder.remove()
        assert isinstance(job.settings, TrellisSettings), "others have no Hessian here"
        raise indefinite_error(str(error), job.settings) from error
    except FormatError as error:
        folder.remove()
        raise CompressError(
            f"tensor {entry.name}: {error}", "docs/format.md lists the limits of shapes"
        ) from error


def encode_tensor(job: Job, entry: TensorEntry, step: Step) -> EncodedTensor:
    """The tensor's codes; progress moves from `step` on while its weights are read."""
    job.progress(step)
    settings, statistics = tensor_settings(entry, job.settings, job.statistics)
    most = entry.n_weights * settings.passes

    def show(n_read: int) -> None:
        inside = entry.n_bytes * min(n_read, most) // most
        job.progress(replace(step, bytes_done=step.bytes_done + inside))

    source = CountedSource(job.checkpoint.source(entry.name), show)
    if isinstance(settings, TrellisSettings):
        code, device = job.codes.get(entry.name), job.device
        return encode_trellis(source, settings, entry.name, statistics, code, device)
    return encode(source, settings, entry.name, statistics)


def write(job: Job, folder: WorkFolder, bundle: ModelBundle) -> None:
    """Writes the container in the work folder, from its finished tensors, and moves it to `out`.

    So whatever is left by a run that was killed here lies in the work folder too.
    """
    tensors = tuple(
        TensorSource(entry.name, partial(folder.load, i, entry.name))
        for i, entry in enumerate(job.checkpoint.tensors)
    )

    def show(done_bytes: int, all_bytes: int) -> None:
        job.progress(Step("write", "", len(tensors), len(tensors), done_bytes, all_bytes))

    complete = folder.path / "complete"
    write_container(replace(bundle, tensors=tensors), complete, show)
    if job.out.exists():
        complete.chmod(stat.S_IMODE(job.out.stat().st_mode))  # who may read it stays as it was
    os.replace(complete, job.out)
    sync_folder(job.out.parent)


def raw_tensors(job: Job) -> tuple[RawTensor, ...]:
    """The tensors that the written container holds as they were."""
    with open_container(job.out) as container:
        return tuple(
            RawTensor(entry.name, entry.shape, entry.n_bytes, raw_reason(entry.shape, job.settings))
            for entry in container.tensors
            if isinstance(entry.format, RawFormat)
        )
