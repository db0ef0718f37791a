"""Finished tensors of an unfinished run, kept beside the output so that the next start goes on.

The folder `.<output>.partial` holds `job.json`, which says what the run was made from, and one
container per finished tensor. Both are written under another name first, so that whatever is there
is complete, however the run ended.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecomp.calibration.folder import StatisticsFolder, is_usable
from edgecomp.disk import sync_folder
from exporters.bundle import ModelBundle, TensorSource
from exporters.gguf import ContainerError, open_container, write_container
from runtime_ops.formats import EncodedTensor, FormatError

__all__ = [
    "ForeignFolderError",
    "WorkFolder",
    "WorkFolderBusyError",
    "open_work_folder",
    "work_folder_path",
]


KEPT_FILES = re.compile(
    r"\d{6}\.gguf|(crvq|trellis)-[a-z]+(-\d{4})?\.safetensors|(original|coded)-\d{4}\.f32"
)
OWN_FILES = re.compile(
    KEPT_FILES.pattern
    + r"|job\.json(\.tmp)?|complete|\.edgecomp-[0-9a-f]{16}\.tmp"
    + r"|(crvq|trellis)-[a-z0-9-]+\.safetensors\.tmp"
)
STATISTICS = "statistics"  # a folder of its own, which calibration looks after


class WorkFolderBusyError(OSError):
    """Another process is working in the folder."""


class ForeignFolderError(OSError):
    """What lies where the work folder belongs is something else."""


@dataclass(frozen=True)
class WorkFolder:
    """An open work folder; `restarted` is True when it held another job's tensors, now removed."""

    path: Path
    restarted: bool

    def finished(self, index: int, name: str) -> bool:
        """Whether the tensor of that position is there and undamaged."""
        part = self.part(index)
        if not part.is_file():
            return False
        try:
            with open_container(part) as container:
                names = [entry.name for entry in container.tensors]
                return names == [name] and not container.verify()
        except (ContainerError, FormatError, OSError):
            return False

    def save(self, index: int, name: str, tensor: EncodedTensor) -> None:
        """Keeps a finished tensor; OSError when it cannot be written."""
        bundle = ModelBundle(name, (TensorSource(name, lambda: tensor),), settings="{}")
        write_container(bundle, self.part(index))
        sync_folder(self.path)

    def load(self, index: int, name: str) -> EncodedTensor:
        """A tensor that was saved before; its file stays open as long as its parts live."""
        with open_container(self.part(index)) as container:
            return container.read(name)

    def part(self, index: int) -> Path:
        """The file of the tensor of that position."""
        return self.path / f"{index:06}.gguf"

    def n_bytes(self) -> int:
        """Bytes of everything in the folder."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    @property
    def statistics(self) -> Path:
        """The folder of statistics that were gathered for this run."""
        return self.path / STATISTICS

    def drop_damaged_statistics(self) -> None:
        """Deletes statistics that no longer say what they are of, so that they are made anew."""
        if self.statistics.is_dir() and not is_usable(self.statistics):
            remove_statistics(self.path)

    def remove(self) -> None:
        """Deletes the files that a run makes, and the folder if that was all."""
        with contextlib.suppress(OSError):
            remove_statistics(self.path)
            for file in self.path.iterdir():
                if OWN_FILES.fullmatch(file.name):
                    file.unlink()
            self.path.rmdir()


def remove_statistics(path: Path) -> None:
    """Deletes the statistics in a work folder, if there are any."""
    if (path / STATISTICS).is_dir():
        StatisticsFolder(path / STATISTICS, restarted=False).remove()


def work_folder_path(out: Path) -> Path:
    """Where the finished tensors of an output file are kept."""
    return out.parent / f".{out.name}.partial"


def finished_tensors(path: Path, n_tensors: int) -> int:
    """How many of a checkpoint's tensors lie in a work folder; others are of stages before."""
    return sum((path / f"{i:06}.gguf").is_file() for i in range(n_tensors))


@contextlib.contextmanager
def open_work_folder(out: Path, job: str) -> Iterator[WorkFolder]:
    """The work folder of an output, locked until the block ends, with tensors of this `job` only.

    It stays after the block unless it is empty; `remove` it when it is no longer of use. Raises
    WorkFolderBusyError when another process has it.
    """
    path = work_folder_path(out)
    path.mkdir(exist_ok=True)
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:  # a link, or a file
        raise foreign(path) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkFolderBusyError(f"another run is writing {out}") from None
        folder = WorkFolder(path, restarted=claim(path, job))
        try:
            yield folder
        finally:
            if path.is_dir() and not any(is_kept(file) for file in path.iterdir()):
                folder.remove()
    finally:
        os.close(lock)


def claim(path: Path, job: str) -> bool:
    """Makes the folder this job's; True when another job's tensors had to be removed.

    Only files of the kinds that a run makes are ever removed: OSError when there are others.
    """
    job_file = path / "job.json"
    for file in path.iterdir():
        own = file.is_dir() if file.name == STATISTICS else OWN_FILES.fullmatch(file.name)
        if file.is_symlink() or not own or not (file.is_file() or file.name == STATISTICS):
            raise foreign(path)
    if job_file.is_file() and job_file.read_bytes() == job.encode():
        for leftover in path.iterdir():
            if leftover != job_file and not is_kept(leftover):
                leftover.unlink()
        return False
    stale = any(is_kept(file) for file in path.iterdir())
    remove_statistics(path)
    if (path / STATISTICS).is_dir():  # which holds something else
        raise foreign(path)
    for file in path.iterdir():
        file.unlink()
    temporary = path / "job.json.tmp"
    with temporary.open("w") as text:
        text.write(job)
        text.flush()
        os.fsync(text.fileno())
    os.replace(temporary, job_file)
    sync_folder(path)
    return stale


def is_kept(file: Path) -> bool:
    """Whether an entry of a work folder is worth keeping when a run ends early."""
    return file.name == STATISTICS or KEPT_FILES.fullmatch(file.name) is not None


def foreign(path: Path) -> ForeignFolderError:
    """The error for a work folder that holds something else, which must not be touched."""
    return ForeignFolderError(errno.EEXIST, "not a work folder of edgecomp", str(path))
