"""What a command reads, which nothing that it writes may replace."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgecomp.checkpoint import Checkpoint

__all__ = ["Inputs", "lies_in"]

# Kinds of files that a model folder holds: weights, settings, tokenizers, chat templates, code.
MODEL_SUFFIXES = (".jinja", ".json", ".model", ".py", ".safetensors", ".txt")


@dataclass(frozen=True)
class Inputs:
    """The model of a run, and its text and statistics (a folder or a file) where there are any."""

    checkpoint: Checkpoint
    text: Path | None = None
    statistics: Path | None = None

    def damage(self, out: Path) -> str | None:
        """What is wrong with a file at `out`, such as "is the text"; None when no input is hit.

        Links are followed, and other names of a file are seen. OSError for a folder that may not
        be looked into.
        """
        if self.text is not None and is_same(out, self.text):
            return "is the text"
        if self.statistics is not None:
            if is_same(out, self.statistics):
                return "is the file of the statistics"
            if self.statistics.is_dir() and lies_in(out, self.statistics):
                return "lies in the folder of the statistics"
        if any(is_same(out, file) for file in self.model_files()):
            return "is a file of the model"
        return None

    def inside(self, folder: Path) -> Path | None:
        """The text or the statistics, when `folder` holds them; None when it does not."""
        if not folder.is_dir():
            return None
        found = (path for path in (self.text, self.statistics) if path is not None)
        return next((path for path in found if lies_in(path, folder)), None)

    def model_files(self) -> tuple[Path, ...]:
        """The files that the checkpoint consists of."""
        others = (
            file for file in self.checkpoint.folder.iterdir() if file.suffix in MODEL_SUFFIXES
        )
        return (*self.checkpoint.shards, *others)


def is_same(a: Path, b: Path) -> bool:
    """Whether both paths lead to one file that exists."""
    return a.exists() and b.exists() and a.samefile(b)


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path leads to the folder or to something in it, links followed."""
    # realpath, for resolve() raises RuntimeError where links lead in a circle.
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
