"""What cores are called, by the implementer and part of their MIDR register.

From Arm's technical reference manuals, and arch/arm64/include/asm/cputype.h of Linux for others'.
"""

from __future__ import annotations

__all__ = ["core_name"]

NAMES = {
    "0x41:0xc07": "Cortex-A7", "0x41:0xc08": "Cortex-A8", "0x41:0xc09": "Cortex-A9",
    "0x41:0xc0d": "Cortex-A12", "0x41:0xc0e": "Cortex-A17", "0x41:0xc0f": "Cortex-A15",
    "0x41:0xd01": "Cortex-A32", "0x41:0xd02": "Cortex-A34", "0x41:0xd03": "Cortex-A53",
    "0x41:0xd04": "Cortex-A35", "0x41:0xd05": "Cortex-A55", "0x41:0xd07": "Cortex-A57",
    "0x41:0xd08": "Cortex-A72", "0x41:0xd09": "Cortex-A73", "0x41:0xd0a": "Cortex-A75",
    "0x41:0xd0b": "Cortex-A76", "0x41:0xd0c": "Neoverse-N1", "0x41:0xd0d": "Cortex-A77",
    "0x41:0xd0e": "Cortex-A76AE", "0x41:0xd40": "Neoverse-V1", "0x41:0xd41": "Cortex-A78",
    "0x41:0xd42": "Cortex-A78AE", "0x41:0xd44": "Cortex-X1", "0x41:0xd46": "Cortex-A510",
    "0x41:0xd47": "Cortex-A710", "0x41:0xd48": "Cortex-X2", "0x41:0xd49": "Neoverse-N2",
    "0x41:0xd4a": "Neoverse-E1", "0x41:0xd4b": "Cortex-A78C", "0x41:0xd4c": "Cortex-X1C",
    "0x41:0xd4d": "Cortex-A715", "0x41:0xd4e": "Cortex-X3", "0x41:0xd4f": "Neoverse-V2",
    "0x41:0xd80": "Cortex-A520", "0x41:0xd81": "Cortex-A720", "0x41:0xd82": "Cortex-X4",
    "0x41:0xd84": "Neoverse-V3", "0x41:0xd85": "Cortex-X925", "0x41:0xd87": "Cortex-A725",
    "0x41:0xd8e": "Neoverse-N3", "0x42:0x516": "ThunderX2", "0x43:0x0af": "ThunderX2",
    "0x46:0x001": "A64FX", "0x48:0xd01": "TaiShan v110",
    "0x4e:0x003": "Denver 2", "0x4e:0x004": "Carmel",
    "0x51:0x001": "Oryon", "0x51:0x201": "Kryo (Silver)", "0x51:0x205": "Kryo (Gold)",
    "0x51:0x800": "Kryo 2xx Gold", "0x51:0x801": "Kryo 2xx Silver",
    "0x51:0x802": "Kryo 3xx Gold", "0x51:0x803": "Kryo 3xx Silver",
    "0x51:0x804": "Kryo 4xx Gold", "0x51:0x805": "Kryo 4xx Silver",
    "0x61:0x022": "Apple M1 Icestorm", "0x61:0x023": "Apple M1 Firestorm",
    "0x61:0x024": "Apple M1 Pro Icestorm", "0x61:0x025": "Apple M1 Pro Firestorm",
    "0x61:0x028": "Apple M1 Max Icestorm", "0x61:0x029": "Apple M1 Max Firestorm",
    "0x61:0x032": "Apple M2 Blizzard", "0x61:0x033": "Apple M2 Avalanche",
    "0x61:0x034": "Apple M2 Pro Blizzard", "0x61:0x035": "Apple M2 Pro Avalanche",
    "0x61:0x038": "Apple M2 Max Blizzard", "0x61:0x039": "Apple M2 Max Avalanche",
    "0xc0:0xac3": "Ampere-1", "0xc0:0xac4": "Ampere-1a",
}  # fmt: skip


def core_name(part: str, cpu: str, architecture: str) -> str:
    """The name of a core, else what the system calls the processor, else what is known."""
    implementer, _, number = part.partition(":")
    known = NAMES.get(part.lower())
    if known is None and number:
        return f"{cpu or 'core'} ({implementer}:{number})"
    return known or cpu or architecture
