"""A device, measured: connect, send, run, understand, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from devices.profile import Profile
from devices.profile_file import write_profile
from edgecomp.latency.stored import container_model
from edgecomp.measuring.address import open_target
from edgecomp.measuring.device import Device, open_device
from edgecomp.measuring.drift import drift_of
from edgecomp.measuring.errors import AddressError, MeasureError
from edgecomp.measuring.kernel_set import write_kernels
from edgecomp.measuring.lines import End, Line, Measurements, gather, read_line
from edgecomp.measuring.local import LocalTarget
from edgecomp.measuring.profile_from import About, profile_from
from edgecomp.measuring.program import find_program, given_program
from edgecomp.measuring.programs_there import PROGRAM, Identity, crash, identify, install
from edgecomp.progress import ProgressCallback, Step

__all__ = ["RUNNERS", "Answers", "Request", "measure", "try_runner"]

KERNELS = "kernels.gguf"
LIFETIME_SECONDS = 3600  # after which a device gives up, should it not notice that we are gone
SILENCE_SECONDS = 120.0  # between two lines
BUSY = 1.0  # programs that run there before we come; building ours leaves some for a minute
RUNNERS = {
    "qemu-aarch64": "aarch64-linux-musl", "qemu-aarch64-static": "aarch64-linux-musl",
    "qemu-arm": "arm-linux-musleabihf", "qemu-arm-static": "arm-linux-musleabihf",
}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What to measure, and how."""

    on: str  # local, ssh:[user@]host[:port], adb[:serial]
    seconds: float = 45.0
    program: Path | None = None  # None: the one for the device
    kernels: Callable[[Path], None] = write_kernels  # writes the container


@dataclass(frozen=True)
class Answers:
    """What a device said, and what it is."""

    found: Measurements
    identity: Identity
    kind: Literal["board", "phone"] | None
    bytes_per_weight: Mapping[str, float]


def measure(
    request: Request,
    out: Path,
    name: str,
    progress: ProgressCallback,
    note: Callable[[str], None],
) -> Profile:
    """Measures a device and writes its profile, which appears whole or not at all. `name` "" takes
    the device's own. MeasureError, AddressError, OSError."""
    check_out(out)
    with open_target(request.on) as target, open_device(target, LIFETIME_SECONDS, note) as device:
        identity = identify(device)
        if identity.load >= BUSY:
            note(f"{target.name} is busy (load {identity.load:g}): figures may be too slow")
        install(device, identity, request.program, note)
        sent = send_kernels(device, request, progress)
        found = run_there(device, request.seconds, (), progress)
    answers = Answers(found, identity, target.kind, sent)
    profile = profile_from(found, about(answers, name or identity.model or out.stem),
                           answers.bytes_per_weight)  # fmt: skip
    if warning := drift_of(found.clocks).warning:
        note(warning)
    write_profile(profile, out)
    return profile


def try_runner(
    request: Request, runner: str, progress: ProgressCallback, note: Callable[[str], None]
) -> Measurements:
    """What the program says under an emulator on this machine: that it works, but no times."""
    path = shutil.which(runner) or shutil.which(f"{runner}-static")
    if path is None:
        raise MeasureError(f"{runner} is not installed on this computer", "apt install qemu-user")
    if request.on != "local":
        raise AddressError(f"--runner {runner} runs here, not on {request.on}", "--on local")
    target = RUNNERS[runner]
    program = (
        find_program(target, note)
        if request.program is None
        else given_program(request.program, (target,), runner)
    )
    with open_device(LocalTarget(), LIFETIME_SECONDS, note) as device:
        device.send(program, PROGRAM)
        send_kernels(device, request, progress)
        return run_there(device, request.seconds, (path,), progress)


def check_out(out: Path) -> None:
    """OSError where the profile could not be written once all is measured."""
    if out.is_dir():
        raise IsADirectoryError(21, "is a folder, expected a file such as my-device.toml", str(out))
    if not out.parent.is_dir():
        raise FileNotFoundError(2, "no such folder", str(out.parent))
    descriptor, probe = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    os.close(descriptor)
    os.unlink(probe)


def send_kernels(device: Device, request: Request, progress: ProgressCallback) -> dict[str, float]:
    """Sends the container: bytes that must be read for a weight of each of its matrices."""
    with tempfile.TemporaryDirectory(prefix="edgecomp-") as folder:
        path = Path(folder) / KERNELS
        request.kernels(path)
        size = path.stat().st_size
        progress(Step("send", KERNELS, 0, 1, 0, size, "files"))
        device.send(path, KERNELS)
        progress(Step("send", KERNELS, 1, 1, size, size, "files"))
        tensors = container_model(path).tensors.values()
        return {tensor.name: tensor.n_bytes / tensor.n_weights for tensor in tensors}


def run_there(
    device: Device, seconds: float, runner: tuple[str, ...], progress: ProgressCallback
) -> Measurements:
    """Runs the program with what was sent, and returns what it found. MeasureError."""
    words = (*runner, f"./{PROGRAM}", "measure", KERNELS, "--seconds", f"{seconds:g}")
    lines: list[Line] = []
    errors: list[str] = []
    status, began, whole = -1, time.monotonic(), max(1, round(seconds))
    for kind, text in device.stream(words, SILENCE_SECONDS):
        if kind == "line":
            line = read_line(text)
            lines.append(line)
            done = min(int(time.monotonic() - began), whole - 1)
            progress(Step("measure", getattr(line, "name", ""), done, whole, unit="seconds"))
        elif kind == "error":
            errors.append(text)
        else:
            status = int(text)
    if status != 0:
        raise crash(device.target.name, status, errors)
    if not lines or not isinstance(lines[-1], End):
        said = f": {errors[-1]}" if errors else ""
        raise MeasureError(f"the measurement broke off before its end{said}", "measure again")
    progress(Step("measure", "", whole, whole, unit="seconds"))
    return gather(lines)


def about(answers: Answers, name: str) -> About:
    """What the profile says of the device beside figures."""
    machine = answers.found.machine
    kind: Literal["board", "phone", "laptop", "desktop"] = "board"
    if answers.kind is not None:
        kind = answers.kind
    elif any(core.part.startswith("0x61:") for core in machine.cores):
        kind = "laptop"
    elif machine.architecture.startswith("x86"):
        kind = "desktop"
    return About(name, kind, answers.identity.chip, date.today().isoformat())
