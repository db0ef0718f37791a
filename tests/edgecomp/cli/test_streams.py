"""Closed streams, poor encodings, and arguments that no library turns into an error of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

COMMAND = [sys.executable, "-c", "from edgecomp.cli import main; main()"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with one small matrix whose name is not ASCII."""
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"gewicht-☃": np.ones((16, 16), np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


def run(*arguments: str | Path, shell: str = "") -> subprocess.CompletedProcess[str]:
    """The command line run by a shell, with redirections."""
    line = subprocess.list2cmdline([*COMMAND, *map(str, arguments)])
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    return subprocess.run(
        ["sh", "-c", f"{line} {shell}"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_streams_that_are_closed_or_ascii(model: Path, tmp_path: Path) -> None:
    """The work is done, and what can be shown is shown."""
    out = tmp_path / "m.gguf"
    assert run("compress", model, "-o", out, shell="2>&-").returncode == 0
    shown = run("inspect", out)
    assert shown.returncode == 0
    assert "gewicht-\\u2603" in shown.stdout
    found = json.loads(run("inspect", out, "--json").stdout)
    assert found["tensors"][0]["name"] == "gewicht-☃"
    assert run("inspect", out, shell=">&-").returncode == 0


def test_paths_that_lead_nowhere(model: Path, tmp_path: Path) -> None:
    """One line and a hint for an unknown user, links in a circle, and too many sides."""
    (tmp_path / "loop").symlink_to("loop")
    many = tmp_path / "many"
    many.mkdir()
    save_file({"w": np.ones((1,) * 8 + (4,), np.float32)}, many / "model.safetensors")
    (many / "config.json").write_text("{}")
    for arguments, text in [
        (("~nosuchuser/x", "-o", tmp_path / "a.gguf"), "home directory"),
        ((model, "-o", tmp_path / "loop"), "leads to itself"),
        ((many, "-o", tmp_path / "a.gguf"), "tensor w: shape has 9 dimensions"),
    ]:
        failed = run("compress", "--preset", "lattice", *arguments)
        assert failed.returncode == 1
        lines = failed.stderr.strip().splitlines()
        assert [line.split(":")[0] for line in lines] == ["error", "hint"]
        assert text in lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop", "many", "model"]
