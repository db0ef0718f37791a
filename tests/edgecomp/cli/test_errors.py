"""Every error that the packages name becomes one line, a hint and an exit code."""

from __future__ import annotations

import pytest

from devices.profile import ProfileError
from edgecomp.calibration import CalibrationError
from edgecomp.checkpoint import CheckpointError, TokenizerError
from edgecomp.cli.errors import report_error
from edgecomp.cli.options import UsageError
from edgecomp.compression import CompressError
from edgecomp.encode import SettingsError, WeightError
from edgecomp.evaluation import EvaluationError
from edgecomp.generation import PromptError
from edgecomp.measuring.errors import MeasureError
from edgecomp.serving.errors import ListenError
from exporters.gguf import ContainerError
from runtime_ops.formats import FormatError
from runtime_ops.native import NativeError
from runtime_ops.native_model import ModelError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("what", "do"), 2),
        (CalibrationError("what", "do"), 1),
        (CheckpointError("what", "do"), 1),
        (CompressError("what", "do"), 1),
        (EvaluationError("what", "do"), 1),
        (WeightError("what"), 1),
        (ProfileError("what", "do"), 1),
        (PromptError("what", "do"), 1),
        (ListenError("what"), 1),
        (MeasureError("what", "do"), 1),
        (ModelError("what", ""), 1),
        (ModelError("what", "do"), 1),
        (ModuleNotFoundError("uvicorn: what", name="uvicorn"), 1),
        (SettingsError("what"), 1),
        (TokenizerError("what"), 1),
        (ContainerError("what"), 1),
        (FormatError("what"), 1),
        (NativeError(1, "what"), 1),
        (OSError(28, "No space left", "what"), 1),
        (OSError("what"), 1),
        (UnicodeDecodeError("utf-8", b"what\xff", 4, 5, "what"), 1),
        (ModuleNotFoundError("what", name="torch.nn"), 1),
        (CheckpointError("what\n\x1b[31m", "do\x07"), 1),
    ],
)
def test_errors_are_reported(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_error(error) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    first, hint = captured.err.splitlines()
    assert first.startswith("error: ")
    assert "what" in first or "torch" in first or "uvicorn" in first
    assert len(hint) > len("hint: ")
    assert hint.startswith("hint: ")
    assert "\x1b" not in captured.err
    assert "\x07" not in captured.err


@pytest.mark.parametrize("bug", [ValueError("x"), KeyError("x"), ModuleNotFoundError(name="x")])
def test_bugs_are_not_hidden(bug: Exception) -> None:
    with pytest.raises(type(bug)):
        report_error(bug)
