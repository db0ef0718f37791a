"""What must hold before a compression starts: an output that can be written, and room for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edgecomp.checkpoint import Checkpoint
from edgecomp.compression.workfolder import WorkFolder, work_folder_path
from edgecomp.encode import CrvqSettings, Settings, TrellisSettings
from edgecomp.inputs import Inputs

__all__ = ["CompressError", "check_output", "check_space"]


class CompressError(ValueError):
    """A compression that cannot start or go on; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def check_output(out: Path, inputs: Inputs) -> None:
    """CompressError unless a new file may be put at `out`, where it damages no input."""
    try:
        work = work_folder_path(out.resolve())
    except RuntimeError as error:  # links in a circle
        raise CompressError(f"{out} is a link that leads to itself", "give a file name") from error
    if out.is_dir():
        raise CompressError(f"{out} is a folder, expected a file name", f"try {out / 'model.gguf'}")
    if out.exists() and not out.is_file():
        raise CompressError(f"{out} is not a regular file", "give the name of a file on a disk")
    if not out.parent.is_dir():
        raise CompressError(f"no folder {out.parent}", f"mkdir -p {out.parent}")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise CompressError(f"{out.parent} is not writable", "choose another folder")
    damage = inputs.damage(out)
    if damage is not None:
        raise CompressError(f"{out} {damage}", "give another output name")
    inside = inputs.inside(work)
    if inside is not None:
        raise CompressError(
            f"{inside} lies in {work}, which is removed when {out} is complete",
            "copy it to another place, or give another output name",
        )


def check_space(checkpoint: Checkpoint, settings: Settings, folder: WorkFolder) -> None:
    """CompressError when the disk has not enough room for the work folder and the container."""
    tunes = isinstance(settings, CrvqSettings | TrellisSettings) and settings.finetune != "none"
    copies = 4 if tunes else 2  # tuning keeps its first codes and its last ones as well
    needed = max(0, copies * estimated_bytes(checkpoint, settings) - folder.n_bytes())
    place = folder.path.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise CompressError(
            f"{place} has {free / 1e6:.1f} MB free, about {needed / 1e6:.1f} MB are needed",
            "free space or choose another disk (finished tensors are kept until the end)",
        )


def estimated_bytes(checkpoint: Checkpoint, settings: Settings) -> int:
    """About the size of the container: the codes at the settings' rate, and the tokenizer."""
    tokenizer = checkpoint.tokenizer.stat().st_size if checkpoint.tokenizer else 0
    return int(checkpoint.n_weights * settings.expected_bpw / 8) + tokenizer
