"""Errors for the user: one line that says what is wrong, one hint, an exit code."""

from __future__ import annotations

import errno
import sys

import typer

from devices.profile import ProfileError
from edgecomp.calibration import CalibrationError
from edgecomp.checkpoint import CheckpointError, TokenizerError
from edgecomp.cli.options import UsageError
from edgecomp.compression import CompressError
from edgecomp.encode import SettingsError, WeightError
from edgecomp.evaluation import EvaluationError
from edgecomp.generation import PromptError
from edgecomp.latency.language_model import LatencyError
from edgecomp.measuring.errors import MeasureError
from edgecomp.serving.errors import ListenError
from edgecomp.terminal import printable
from exporters.gguf import ContainerError
from runtime_ops.formats import FormatError
from runtime_ops.native import NativeError
from runtime_ops.native_model import ModelError

__all__ = ["fail", "note", "report_error"]

SERVER_EXTRAS = ("starlette", "uvicorn")
EXTRAS = ("huggingface_hub", "safetensors", "tokenizers", "torch", "transformers")


def report_error(error: Exception) -> int:
    """Prints an error with a hint and returns the exit code; bugs are raised again."""
    message, hint, code = str(error), getattr(error, "hint", ""), 1
    match error:
        case UsageError():
            code = 2
        case (
            CalibrationError()
            | CheckpointError()
            | CompressError()
            | EvaluationError()
            | LatencyError()
            | ListenError()
            | MeasureError()
            | ProfileError()
            | PromptError()
            | WeightError()
        ):
            pass
        case SettingsError():
            hint = "edgecomp compress --help shows the options"
        case TokenizerError():
            hint = "put the tokenizer.json there that belongs to the model"
        case ModelError():
            hint = hint or "give a container of a language model that can be run"
        case ContainerError() | FormatError() | NativeError():
            hint = "give a container that `edgecomp compress` wrote, undamaged"
        case ModuleNotFoundError() if (error.name or "").partition(".")[0] in EXTRAS:
            message = f"{error.name} is not installed, this command needs it"
            hint = "pip install 'edgecomp[compress]'"
        case ModuleNotFoundError() if (error.name or "").partition(".")[0] in SERVER_EXTRAS:
            message = f"{error.name} is not installed, this command needs it"
            hint = "pip install 'edgecomp[serve]'"
        case UnicodeDecodeError():
            message, hint = f"the text is not UTF-8: {error}", "convert it to UTF-8"
        case OSError():
            message, hint = system_error(error)
        case typer.TyperException():
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "edgecomp"
            message, hint, code = error.format_message(), f"{command} --help", 2
        case _:
            raise error
    fail(message, hint)
    return code


def system_error(error: OSError) -> tuple[str, str]:
    """What the system refused, and what may help."""
    reason = error.strerror or str(error)
    message = f"{error.filename}: {reason}" if error.filename else reason
    if error.errno == errno.ENOSPC:
        return message, "free some space, or write elsewhere"
    if error.filename:
        return message, "check the path and its permissions"
    return message, "edgecomp --debug COMMAND shows where it came from"


def fail(message: str, hint: str) -> None:
    """An error and a hint on stderr, one line each; an empty hint is none."""
    print(f"error: {printable(' '.join(message.split()))}", file=sys.stderr)
    if hint:
        print(f"hint: {printable(hint)}", file=sys.stderr)


def note(line: str) -> None:
    """A line for the user on stderr."""
    print(f"note: {printable(line)}", file=sys.stderr)
