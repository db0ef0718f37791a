"""The folder that statistics lie in, while they are gathered and after.

One safetensors file per finished block (`block-00000.safetensors`) and one for the head
(`head.safetensors`) hold the matrices. Until the last one is there the folder also holds
`job.json`, which says what the statistics are made from, and the hidden states before and after the
block that is worked on; then `index.json` takes their place.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp.calibration.errors import CalibrationError
from edgecomp.calibration.sites import Site
from edgecomp.checkpoint.safetensors_file import CheckpointError, read_header
from edgecomp.disk import sync_folder

__all__ = ["HEAD", "INDEX", "JOB", "StatisticsFolder", "block_file", "is_usable", "open_folder"]

INDEX = "index.json"
JOB = "job.json"
HEAD = "head.safetensors"
OWN_FILES = re.compile(
    r"(index|job)\.json(\.tmp)?|(block-\d{5}|head)\.safetensors(\.tmp)?|hidden-[01]\.bin"
)


def block_file(i: int) -> str:
    """The name of the file with the matrices of block i."""
    return f"block-{i:05}.safetensors"


@dataclass(frozen=True)
class StatisticsFolder:
    """An open folder; `restarted`: it held another job's unfinished work, now removed."""

    path: Path
    restarted: bool

    @property
    def complete(self) -> bool:
        """Whether all statistics are there."""
        return (self.path / INDEX).is_file()

    def hidden(self, i: int) -> Path:
        """Where the input of block i lies; that of block i + 2 takes its place."""
        return self.path / f"hidden-{i % 2}.bin"

    def finished(self, name: str, sites: Sequence[Site]) -> bool:
        """Whether the file of that name holds the matrices of those sites."""
        try:
            entries = read_header(self.path / name)
        except CheckpointError:
            return False
        return {entry.name: (entry.dtype, entry.shape) for entry in entries.values()} == {
            site.tensors[0]: ("F32", (site.columns, site.columns)) for site in sites
        }

    def save(
        self, name: str, sites: Sequence[Site], matrix: Callable[[Site], NDArray[np.float32]]
    ) -> None:
        """Writes a file with the `matrix` of every site, each under its first tensor's name."""
        header: dict[str, object] = {}
        end = 0
        for site in sites:
            start, end = end, end + 4 * site.columns**2
            shape = [site.columns, site.columns]
            header[site.tensors[0]] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with self.replacing(name) as temporary, temporary.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for site in sites:
                file.write(np.ascontiguousarray(matrix(site), "<f4").data)
            file.flush()
            os.fsync(file.fileno())

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file, all of it or nothing."""
        with self.replacing(name) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """A file to write that takes the place of `name` when the block ends well."""
        temporary = self.path / f"{name}.tmp"
        yield temporary
        os.replace(temporary, self.path / name)
        sync_folder(self.path)

    def finish(self, index: str) -> None:
        """Makes the folder complete: writes its index, removes what only the work needed."""
        self.write_text(INDEX, index)
        for name in (JOB, "hidden-0.bin", "hidden-1.bin"):
            (self.path / name).unlink(missing_ok=True)

    def reopen(self) -> None:
        """Makes a complete folder, of which a file is damaged, an unfinished one again."""
        index = self.path / INDEX
        if index.is_file():
            self.write_text(JOB, json.dumps(json.loads(index.read_bytes())["job"]))
            index.unlink()

    def clear(self) -> None:
        """Removes the matrices: those of blocks to come must not count as finished."""
        for file in self.path.glob("*.safetensors"):
            file.unlink()

    def n_bytes(self) -> int:
        """Bytes of everything in the folder."""
        return sum(file.stat().st_size for file in self.path.iterdir())

    def remove(self) -> None:
        """Deletes the files that a run makes, and the folder if that was all."""
        with contextlib.suppress(OSError):
            for file in sorted(self.path.iterdir(), key=lambda file: file.name == JOB):
                if OWN_FILES.fullmatch(file.name):
                    file.unlink()
            self.path.rmdir()


@contextlib.contextmanager
def open_folder(path: Path, job: str) -> Iterator[StatisticsFolder]:
    """The statistics folder at `path` for that job, locked until the block ends.

    Raises CalibrationError when another process works in it, when it holds something else or the
    finished statistics of another job; OSError when it cannot be made or read.
    """
    if path.exists() and not path.is_dir():
        raise CalibrationError(f"{path} is a file, expected a folder", "give another name")
    if not path.parent.is_dir():
        raise CalibrationError(f"no folder {path.parent}", f"mkdir -p {path.parent}")
    path.mkdir(exist_ok=True)
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CalibrationError(
                f"another run is writing {path}", "wait for it, or give another folder"
            ) from None
        folder = StatisticsFolder(path, restarted=claim(path, job))
        try:
            yield folder
        finally:
            if not any(path.glob("*.safetensors")):
                folder.remove()
    finally:
        os.close(lock)


def claim(path: Path, job: str) -> bool:
    """Makes the folder this job's; True when another job's unfinished work had to be removed."""
    for file in path.iterdir():
        if file.is_symlink() or not (file.is_file() and OWN_FILES.fullmatch(file.name)):
            raise foreign(path, file)
    if (path / INDEX).is_file():
        if belongs_to(path / INDEX, job):
            return False
        raise CalibrationError(
            f"{path} holds statistics of another model or text, or with other options",
            "give another folder, or remove this one",
        )
    job_file = path / JOB
    if job_file.is_file() and job_file.read_bytes() == job.encode():
        for leftover in path.glob("*.tmp"):
            leftover.unlink()
        return False
    kept = sorted(file for file in path.iterdir() if file.suffix != ".tmp")
    if kept and not is_job(job_file):  # names such as head.safetensors are others' too
        raise foreign(path, kept[0])
    stale = any(path.glob("*.safetensors"))
    for file in path.iterdir():
        if file != job_file:  # which goes last: files without it count as somebody else's
            file.unlink()
    StatisticsFolder(path, stale).write_text(JOB, job)
    return stale


def foreign(path: Path, file: Path) -> CalibrationError:
    """The error for a folder that holds something else, which must not be touched."""
    return CalibrationError(
        f"{path} holds {file.name}, it is not a folder of statistics",
        "give the name of a new folder",
    )


def is_job(file: Path) -> bool:
    """Whether a file says what unfinished statistics are made from."""
    try:
        job = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return False
    return isinstance(job, dict) and {"model", "text_sha256", "windows"} <= job.keys()


def is_usable(path: Path) -> bool:
    """Whether a folder says what its statistics, finished or not, are made from."""
    return is_job(path / JOB) or is_index(path / INDEX)


def is_index(file: Path) -> bool:
    """Whether a file says what finished statistics were made from."""
    try:
        index = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return False
    return isinstance(index, dict) and isinstance(index.get("job"), dict)


def belongs_to(index: Path, job: str) -> bool:
    """Whether a finished folder's index was made by that job; OSError when it cannot be read."""
    try:
        return bool(json.loads(index.read_bytes())["job"] == json.loads(job))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = "not an index of statistics; remove its folder to gather them anew"
        raise OSError(errno.EINVAL, reason, str(index)) from error
