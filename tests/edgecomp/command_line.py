"""The command line as tests call it, and what an error of it must look like."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from edgecomp import cli, pipeline
from edgecomp.compression import Calibration
from edgecomp.encode import Settings


@dataclass
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


def runner(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """A function that runs `edgecomp` with its arguments."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["edgecomp", *map(str, arguments)])
        capsys.readouterr()  # what making the model has printed
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        captured = capsys.readouterr()
        code = exit_.value.code
        return Result(code if isinstance(code, int) else 0, captured.out, captured.err)

    return call


def compress_arguments(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, *options: str
) -> tuple[Settings, Calibration | None]:
    """The settings and the calibration that `edgecomp compress` with the options would take."""
    seen: list[tuple[Settings, Calibration | None]] = []

    def compress(*given: Any) -> None:
        seen.append((given[2], given[-1]))
        raise SystemExit(0)

    monkeypatch.setattr(pipeline, "compress", compress)
    assert run("compress", "m", "-o", "x", *options).code == 0
    (found,) = seen
    return found


def assert_error(result: Result, code: int, *reasons: str) -> None:
    """One error line with the reasons in it, a hint, nothing on stdout."""
    assert result.code == code
    assert result.out == ""
    error, hint = result.err.splitlines()[-2:]
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert len(hint) > len("hint: ")
    for reason in reasons:
        assert reason in result.err
    assert "Traceback" not in result.err
