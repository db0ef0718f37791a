"""What a calibration is told, and the device that it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgecomp.calibration.errors import CalibrationError

__all__ = ["CalibrateSettings", "check_windows", "choose_context", "choose_device"]

DEFAULT_CONTEXT = 512  # tokens in a window, where the model can read as many


@dataclass(frozen=True)
class CalibrateSettings:
    """How much text is read, where, and whether an imatrix is written too."""

    windows: int = 256
    context: int | None = None  # tokens in a window; None: 512, or the model's context if shorter
    device: str = "auto"  # cpu, cuda, cuda:1, ...; auto: cuda where torch sees one
    imatrix: Path | None = None


def check_windows(windows: int) -> None:
    """CalibrationError unless there is a window at least."""
    if windows < 1:
        raise CalibrationError(f"{windows} windows, expected at least 1", "try 256")


def choose_context(asked: int | None, longest: int | None, default: int = DEFAULT_CONTEXT) -> int:
    """Tokens in a window, for a model that reads at most `longest` (None: not known).

    `asked` None stands for `default`, or what the model reads if that is less. CalibrationError for
    more tokens than the model reads.
    """
    if asked is None:
        return default if longest is None else min(longest, default)
    if asked < 1 or (longest is not None and asked > longest):
        at_most = "" if longest is None else f" and at most {longest}, the model's context"
        raise CalibrationError(
            f"a context of {asked} tokens, expected at least 1{at_most}",
            f"leave --context out to take what the model can read, up to {default} tokens",
        )
    return asked


def choose_device(name: str) -> str:
    """The torch device of that name; CalibrationError when there is none."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    found = torch.cuda.device_count()
    if device.type == "cpu" or (device.type == "cuda" and (device.index or 0) < found):
        return name
    raise CalibrationError(
        f"no device {name}: torch sees the CPU and {found} CUDA devices", "try --device cpu"
    )
