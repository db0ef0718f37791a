"""The program on a device: which one runs there, and what it says when it cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecomp.measuring import scripts
from edgecomp.measuring.architecture import elf_target, targets_for
from edgecomp.measuring.device import Answer, Device
from edgecomp.measuring.errors import MeasureError
from edgecomp.measuring.program import find_program, given_program

__all__ = ["PROGRAM", "Identity", "crash", "identify", "install"]

PROGRAM = "edgecomp-run"
NOT_RUN = (126, 127)  # a shell's words for a program that cannot be started
IDENTIFY = (
    'echo "system $(uname -s)"; echo "machine $(uname -m)"; '
    'echo "model $(cat /proc/device-tree/model)"; echo "load $(cat /proc/loadavg)"; '
    "if command -v getprop >/dev/null; then "
    'echo "model $(getprop ro.product.manufacturer) $(getprop ro.product.model)"; '
    'echo "chip $(getprop ro.soc.manufacturer) $(getprop ro.soc.model)"; fi'
)
SIGNALS = {
    4: ("Illegal instruction", "the processor lacks instructions that it needs, such as NEON"),
    7: ("Bus error", "is the disk there full, or the file cut off? measure again"),
    9: ("Killed", "is its memory full? end other programs there, then measure again"),
    11: ("Segmentation fault", "an error of edgecomp: please report it"),
    15: ("Terminated", "something there ended it: measure again"),
}


@dataclass(frozen=True)
class Identity:
    """What a device says it is; "" where it does not."""

    system: str  # Linux
    machine: str  # aarch64
    model: str  # Raspberry Pi 5 Model B Rev 1.0
    chip: str
    load: float = 0.0  # programs that ran there in the minute before


def identify(device: Device) -> Identity:
    """What the device is. MeasureError."""
    fields: dict[str, str] = {}
    for line in device.ask(scripts.whole(IDENTIFY)).lines:
        key, _, value = line.partition(" ")
        if words := " ".join("".join(c for c in value if c.isprintable()).split()):
            fields[key] = words[:100]
    get = fields.get
    try:
        load = float(get("load", "0").partition(" ")[0])
    except ValueError:
        load = 0.0
    return Identity(get("system", ""), get("machine", ""), get("model", ""), get("chip", ""), load)


def install(
    device: Device, identity: Identity, given: Path | None, note: Callable[[str], None]
) -> str:
    """Sends the first program that runs there: its target. MeasureError, OSError."""
    name = device.target.name
    targets = targets_for(name, identity.system, identity.machine)
    if given is not None:
        path = given_program(given, targets, f"{name} ({identity.machine})")
        targets = (elf_target(path),)
    for target in targets:
        device.send(given or find_program(target, note), PROGRAM)
        answer = device.ask(scripts.program(device.folder, (f"./{PROGRAM}", "--version")))
        if answer.status == 0 and any(line.startswith(PROGRAM) for line in answer.lines):
            return target
        if answer.status not in NOT_RUN:
            raise crash(name, answer.status, answer.errors)
        if target != targets[-1]:
            note(f"{name} says {identity.machine}, and does not run such programs; trying 32 bits")
    raise not_started(name, targets, answer)


def not_started(name: str, targets: Sequence[str], answer: Answer) -> MeasureError:
    """The error of a program that the system there did not start."""
    said = answer.errors[-1] if answer.errors else f"exit status {answer.status}"
    return MeasureError(
        f"{name} does not run a program for {' or '.join(targets)}: {said}",
        "is it an emulated or restricted system? --program PATH gives another edgecomp-run",
    )


def crash(name: str, status: int, errors: Sequence[str]) -> MeasureError:
    """The error of a program that ended with a status, and its last words."""
    if status - 128 in SIGNALS:
        what, hint = SIGNALS[status - 128]
        return MeasureError(f"{name}: {PROGRAM} crashed there: {what}", hint)
    said = next((line for line in reversed(errors) if line.startswith("error: ")), "")
    hint = next((line for line in reversed(errors) if line.startswith("hint: ")), "")
    last = said.removeprefix("error: ") or (errors[-1] if errors else "without a word")
    return MeasureError(
        f"{name}: {PROGRAM} failed there with status {status}: {last}",
        hint.removeprefix("hint: ") or "send the edgecomp-run of this version: without --program",
    )
