"""The host's description from files under /proc."""

from __future__ import annotations

import platform
from pathlib import Path

from devices import describe

X86 = """processor\t: 0
model name\t: AMD EPYC 9755
flags\t\t: fpu sse4_1 avx avx2 fma f16c avx512f

processor\t: 1
model name\t: AMD EPYC 9755
"""
ARM = """processor\t: 0
Features\t: fp asimd asimddp
CPU part\t: 0xd0b

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


def test_x86_host(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(X86)
    (tmp_path / "meminfo").write_text("MemTotal:       16316412 kB\nMemFree: 1 kB\n")
    host = describe(tmp_path)
    assert host.cpu == "AMD EPYC 9755"
    assert host.instruction_sets == ("sse4_1", "avx", "avx2", "fma", "f16c", "avx512f")
    assert host.memory_bytes == 16316412 * 1024


def test_arm_host(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(ARM)
    host = describe(tmp_path)
    assert host.cpu == "Raspberry Pi 5 Model B Rev 1.0"
    assert host.instruction_sets == ("asimd", "asimddp")
    assert host.memory_bytes == 0


def test_system_without_proc(tmp_path: Path) -> None:
    host = describe(tmp_path / "missing")
    assert host.cpu == host.architecture == platform.machine()
    assert host.instruction_sets == ()
    assert host.cores >= 1
    assert platform.system() in host.system
