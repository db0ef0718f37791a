"""A measurement of a device that does not exist, computed from costs that are known."""

from __future__ import annotations

import json

from devices.profile import KernelCost

__all__ = ["BIG", "KERNELS", "LITTLE", "STEP_NS", "WIDTHS", "recorded", "recorded_lines"]

KERNELS = {  # on the fast core; the slow one takes 3 times as long
    "trellis-k2-d1-l8-t64": KernelCost(generate_ns=0.4, decode_ns=0.3, multiply_ns=0.02),
    "uniform-4": KernelCost(generate_ns=0.1, decode_ns=0.05, multiply_ns=0.03),
    "raw-f32": KernelCost(generate_ns=0.05, decode_ns=0.02, multiply_ns=0.04),
}
WIDTHS = {"trellis-k2-d1-l8-t64": 0.25, "uniform-4": 0.5, "raw-f32": 4.0}  # bytes of a weight
STEP_NS = {
    "norm": 1.0, "rope": 2.0, "swiglu": 8.0, "quantise": 0.5, "rotate": 3.0, "store_f16": 1.5,
    "store_int8": 2.5, "load_f16": 0.25, "load_int8": 0.125, "attend": 0.0625, "softmax": 6.0,
}  # fmt: skip
BIG = {"part": "0x41:0xd0b", "top_hz": 2.4e9, "l1d_bytes": 65536, "l2_bytes": 524288}
LITTLE = {"part": "0x41:0xd05", "top_hz": 1.8e9, "l1d_bytes": 32768, "l2_bytes": 131072}
SLOWER = 3.0
RATES = {1: 8e9, 2: 12e9, 4: 16e9}  # bytes a second
DISPATCH_NS = {2: 3000.0, 4: 5000.0}
OVERLAP, EFFICIENCY = 0.75, 0.8  # of 4 threads
SPREAD = 0.06  # half of what rounds differ by

Fields = dict[str, object]


def around(value: float) -> Fields:
    """low and high of a figure."""
    return {"low": value * (1 - SPREAD), "high": value * (1 + SPREAD)}


def clock(seconds: float, core: int, hz: float, degrees: float | None) -> Fields:
    """A clock line."""
    warm = None if degrees is None else round(1000 * degrees)
    return {"kind": "clock", "seconds": seconds, "core": core, "hz": hz, "millidegrees": warm}


def core_lines(core: int, slower: float) -> list[Fields]:
    """What is measured on one core."""
    lines: list[Fields] = []
    for name, cost in KERNELS.items():
        for tokens in (1, 16, 128):
            ns = cost.generate_ns if tokens == 1 else cost.decode_ns + tokens * cost.multiply_ns
            lines.append({"kind": "kernel", "name": name, "core": core, "threads": 1,
                          "tokens": tokens, "where": "cache", "bytes": 131072,
                          "ns_per_weight": slower * ns, **around(slower * ns)})  # fmt: skip
    for name in ("norm", "rope", "swiglu", "quantise", "rotate", "store_f16", "store_int8"):
        ns = slower * STEP_NS[name]
        lines.append({"kind": "step", "name": name, "core": core, "ns": ns, **around(ns)})
    for kv, d, group in (("f16", 64, 1), ("f16", 64, 4), ("f16", 128, 4), ("int8", 64, 1)):
        queries = group * (2 * d * STEP_NS["attend"] + STEP_NS["softmax"])
        ns = slower * (2 * d * STEP_NS[f"load_{kv}"] + queries)
        lines.append({"kind": "attention", "core": core, "kv": kv, "d_head": d, "group": group,
                      "positions": 512, "ns_per_position": ns, **around(ns)})  # fmt: skip
    return lines


def memory_lines() -> list[Fields]:
    """Products whose weights come from memory, with one thread and with two of each kind."""
    lines: list[Fields] = []
    for name, cost in KERNELS.items():
        for threads in (1, 4):
            cores = 1.0 if threads == 1 else EFFICIENCY * (2 + 2 / SLOWER)
            computing, reading = cost.generate_ns / cores, 1e9 * WIDTHS[name] / RATES[threads]
            ns = max(reading, computing) + (1 - OVERLAP) * min(reading, computing)
            lines.append({"kind": "kernel", "name": name, "core": 0, "threads": threads,
                          "tokens": 1, "where": "memory", "bytes": 33554432,
                          "ns_per_weight": ns, **around(ns)})  # fmt: skip
    return lines


def recorded(last_hz: float = 2.35e9, degrees: float | None = 61.0) -> list[Fields]:
    """The lines of four cores, the last clock as given."""
    cores = [{"id": 2, **BIG}, {"id": 3, **BIG}, {"id": 0, **LITTLE}, {"id": 1, **LITTLE}]
    machine: Fields = {
        "kind": "machine", "version": "0.1.0", "architecture": "aarch64", "cpu": "",
        "instruction_set": "neon_dotprod", "instruction_sets": ["scalar", "neon", "neon_dotprod"],
        "memory_bytes": 4 << 30, "available_bytes": 3 << 30, "page_bytes": 4096,
        "last_level_cache_bytes": 2 << 20, "cores": cores,
    }  # fmt: skip
    lines = [machine, clock(0.1, 2, 2.4e9, degrees and degrees - 10), clock(0.2, 0, 1.8e9, degrees)]
    for threads, rate in RATES.items():
        lines.append({"kind": "bandwidth", "threads": threads, "bytes": 67108864,
                      "bytes_per_second": rate, **around(rate)})  # fmt: skip
    for threads, ns in DISPATCH_NS.items():
        lines.append({"kind": "dispatch", "threads": threads, "ns": ns, **around(ns)})
    lines += core_lines(2, 1.0) + core_lines(0, SLOWER) + memory_lines()
    lines.append(clock(39.9, 2, last_hz, degrees))
    lines.append({"kind": "end", "seconds": 40.5})
    return lines


def recorded_lines(lines: list[Fields] | None = None) -> list[str]:
    """The lines as the program prints them."""
    return [json.dumps(line) for line in (recorded() if lines is None else lines)]
