"""The machine this runs on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Host", "describe"]

# Flags of /proc/cpuinfo (x86: flags, Arm: Features) that decide which kernels a machine can run.
INSTRUCTION_SETS = (
    "sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vbmi",
    "avx512_vnni", "avx_vnni", "neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip


@dataclass(frozen=True)
class Host:
    """A machine, as benchmarks report it beside their figures."""

    architecture: str  # x86_64, aarch64, armv7l
    cpu: str  # model name, or the architecture when the system does not say
    cores: int  # that this process may use
    memory_bytes: int  # 0 when the system does not say
    instruction_sets: tuple[str, ...]
    system: str  # operating system and its release


def describe(proc: Path = Path("/proc")) -> Host:
    """This machine, from the files under `proc`; fields they do not have are empty or 0."""
    fields = read_fields(proc / "cpuinfo")
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    memory = read_fields(proc / "meminfo").get("MemTotal", "0 kB").split()
    return Host(
        architecture=platform.machine(),
        cpu=fields.get("model name") or fields.get("Model") or platform.machine(),
        cores=usable_cores(),
        memory_bytes=int(memory[0]) * 1024,
        instruction_sets=tuple(name for name in INSTRUCTION_SETS if name in flags),
        system=f"{platform.system()} {platform.release()}",
    )


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_fields(path: Path) -> dict[str, str]:
    """The first value of every `key: value` line of a file; {} when it cannot be read."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    fields: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    return fields
