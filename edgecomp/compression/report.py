"""What a compression made, and which tensors it left as they were."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from edgecomp.encode import PaperSettings, Settings, TrellisSettings, UniformSettings

__all__ = ["CompressReport", "RawTensor", "raw_reason"]

SMALLEST_PAPER_TENSOR = 10  # weights, as published


@dataclass(frozen=True)
class RawTensor:
    """A tensor that no codec encoded, and why."""

    name: str
    shape: tuple[int, ...]
    n_bytes: int  # in the container
    reason: str


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
    raw: tuple[RawTensor, ...]
    notes: tuple[str, ...]  # every line for the user, in order

    @property
    def bpw(self) -> float:
        """Whole-file bits per weight of the original."""
        return 8 * self.file_bytes / self.n_weights


def raw_reason(shape: tuple[int, ...], settings: Settings) -> str:
    """Why these settings left a tensor of that shape raw."""
    if not isinstance(settings, PaperSettings):
        if len(shape) >= 2 and isinstance(settings, TrellisSettings | UniformSettings):
            return "smaller as it is, or no scale fits its weights"
        return "not a matrix" if len(shape) < 2 else "no scale fits its weights"
    if math.prod(shape) < SMALLEST_PAPER_TENSOR:
        return f"fewer than {SMALLEST_PAPER_TENSOR} weights"
    if settings.raw_error is None:
        return "no scale fits its weights"
    return f"mean error above {settings.raw_error:g}, or no scale fits its weights"
