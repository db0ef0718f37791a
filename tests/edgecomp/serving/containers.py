"""A container that a language model runs from within moments."""

from __future__ import annotations

from pathlib import Path

import edgecomp
from edgecomp.cli.demo import shipped_model

__all__ = ["write_bookworm"]


def write_bookworm(folder: Path) -> Path:
    """The shipped model in group integers, which are encoded fast: folder/bookworm.gguf."""
    path = folder / "bookworm.gguf"
    edgecomp.compress(shipped_model(), path, edgecomp.UniformSettings(bits=4))
    return path
