"""Which static program runs on a machine, and what a program file is for."""

from __future__ import annotations

from pathlib import Path

from edgecomp.measuring.errors import MeasureError

__all__ = ["TARGETS", "elf_target", "targets_for"]

# What `uname -m` says: the targets whose programs may run, the best first. A 64-bit kernel
# may be under a system that is allowed to run 32-bit programs only.
MACHINES = {
    "aarch64": ("aarch64-linux-musl", "arm-linux-musleabihf"),
    "arm64": ("aarch64-linux-musl", "arm-linux-musleabihf"),
    "armv8l": ("arm-linux-musleabihf",),
    "armv7l": ("arm-linux-musleabihf",),
    "x86_64": ("x86_64-linux-musl",),
    "amd64": ("x86_64-linux-musl",),
}
TARGETS = ("x86_64-linux-musl", "aarch64-linux-musl", "arm-linux-musleabihf")
# The machine in the header of an ELF file (e_machine, two bytes at 18).
ELF_MACHINES = {62: "x86_64-linux-musl", 183: "aarch64-linux-musl", 40: "arm-linux-musleabihf"}


def targets_for(name: str, system: str, machine: str) -> tuple[str, ...]:
    """The targets of a device, by `uname -s` and `uname -m`. MeasureError."""
    if system != "Linux":
        raise MeasureError(
            f"{name} runs {system}, and edgecomp-run is for Linux and Android",
            "edgecomp devices list shows profiles that are there",
        )
    if machine not in MACHINES:
        raise MeasureError(
            f"{name} is a machine of kind {machine}, expected one of {', '.join(MACHINES)}",
            "there is no edgecomp-run for it (ARM needs NEON, ARMv7 or later)",
        )
    return MACHINES[machine]


def elf_target(path: Path) -> str:
    """The target that a program file is for. OSError; MeasureError when it is for none."""
    hint = "give edgecomp-run as `make static` builds it"
    if not path.is_file():
        raise MeasureError(f"--program {path}: no such file", hint)
    with path.open("rb") as file:
        header = file.read(20)
    if len(header) < 20 or header[:4] != b"\x7fELF":
        raise MeasureError(f"{path} is no program for Linux", hint)
    target = ELF_MACHINES.get(int.from_bytes(header[18:20], "little"))
    if target is None:
        raise MeasureError(f"{path} is a program for a machine that is not supported", hint)
    return target
