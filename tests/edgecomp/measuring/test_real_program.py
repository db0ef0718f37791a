"""`edgecomp measure` as a user has it: the real program, built for the device, over ssh to this
machine, and under an emulator."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from devices.profile_file import read_profile
from edgecomp.measuring import kernel_set
from edgecomp.measuring.architecture import targets_for
from edgecomp.measuring.kernel_set import kernel_formats
from tests.edgecomp.command_line import Result, assert_error
from tests.edgecomp.measuring.stand_in import Device, measure
from tests.runtime_ops.edgecomp_run import build_static
from tests.tools import require

Run = Callable[..., Result]


@pytest.mark.slow
def test_over_ssh(ssh: Device, out: Path) -> None:
    """All kernels in a second or so: a profile with a cost for each, and nothing left there."""
    (target,) = targets_for("this machine", "Linux", platform.machine())[:1]
    program = build_static(target)[-1]
    measure(ssh, out, "--seconds", "1", "--program", program, "--json")
    profile = read_profile(out)
    assert set(profile.clusters[0].costs.kernels) == set(kernel_formats())
    assert profile.cores == len(os.sched_getaffinity(0))
    assert profile.measured is not None
    assert profile.measured.seconds < 60
    assert "scalar" in profile.clusters[0].instruction_sets
    assert os.listdir(out.parent) == [out.name]


@pytest.mark.slow
def test_under_an_emulator(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The program for 64-bit ARM runs through; what it says about time is not repeated."""
    require("edgecomp measure --runner", ["qemu-aarch64-static"])
    few = {name: kernel_formats()[name] for name in ("uniform-4", "trellis-k2-d1-l8-t64")}
    monkeypatch.setattr(kernel_set, "kernel_formats", lambda: few)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    program = build_static("aarch64-linux-musl")[-1]
    result = run("measure", "--on", "local", "--runner", "qemu-aarch64", "--seconds", 1,
                 "--program", program, "--json")  # fmt: skip
    assert result.code == 0, result.err
    fields = json.loads(result.out)
    assert fields["architecture"] == "aarch64"
    assert (fields["kernels"], fields["steps"], fields["attention"]) == (2, 7, 4)
    assert set(fields) == {
        "runner", "version", "architecture", "instruction_set", "kernels", "steps", "attention",
    }  # fmt: skip
    assert "under qemu-aarch64 times mean nothing: no profile is written" in result.err
    assert list(tmp_path.glob("edgecomp*")) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--on", "local"], ["there is no -o", "-o my-device.toml"]),
        (["--on", "local", "--runner", "qemu-aarch64", "-o", "x.toml"], ["times mean nothing"]),
        (["--on", "local", "--runner", "wine"], ["--runner is wine", "qemu-aarch64"]),
        (["--on", "somewhere", "-o", "x.toml"], ["no such way to a device", "ssh:[user@]host"]),
        (["--on", "ssh:a b", "-o", "x.toml"], ["no such form of address", "ssh:[user@]host"]),
        (["-o", "x.toml"], ["--on"]),
        (["--on", "local", "-o", "x.toml", "--seconds", "0"], ["--seconds"]),
    ],
)
def test_wrong_usage(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_error(run("measure", *options), 2, *words)
    assert os.listdir(tmp_path) == []


def test_an_emulator_that_is_not_here_or_there(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("measure", "--on", "local", "--runner", "qemu-arm")
    assert_error(result, 1, "qemu-arm is not installed on this computer")
    (tmp_path / "qemu-arm").write_text("")
    (tmp_path / "qemu-arm").chmod(0o755)
    result = run("measure", "--on", "ssh:x", "--runner", "qemu-arm")
    assert_error(result, 2, "--runner qemu-arm runs here, not on ssh:x")
