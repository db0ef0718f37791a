"""Estimates what each kernel costs on the cores of devices that nobody has measured.

    python benchmarks/estimate_kernel_costs.py [--check] [--device ID ..] [--count [KERNEL ..]]

The instructions that a kernel executes for a weight are counted in an emulator
(instruction_counts.py) and kept in benchmarks/data/kernel_mix.json; what each core executes in a
cycle is in benchmarks/data/cores.toml, with its sources. From both follow cycles (core_model.py),
and with a cluster's clock the ns that this command writes to [clusters.costs] of
devices/profiles/*.toml. Costs of another source than `kernel-estimates` are left alone. `--check`
changes nothing and exits with 1 when a file would change. After a kernel's C source changes,
`--count KERNEL ..` counts those anew, and `--count` all of them, in half an hour.

A product with one token takes `generate_ns` for a weight, with n tokens
`decode_ns + n * multiply_ns`: a line through 16 and 64 tokens. Attention to a position, for a head
of keys and the g queries that share it, is 2 d load + g (2 d attend + softmax) with d numbers in a
head: four cases give the four.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from core_model import Core, CoreError, cycles, read_cores
from instruction_counts import TARGETS, CountError
from kernel_mix import (
    MIX,
    STEPS,
    TOKENS,
    Functions,
    Mix,
    count_all,
    read_mix,
    with_counts,
    write_mix,
)

from devices.profile import Cluster, Costs, KernelCost, ProfileError
from devices.profile_file import read_profile

PROFILES = Path(__file__).parents[1] / "devices" / "profiles"
SOURCE = "kernel-estimates"
# Instruction sets that are counted, the fastest first. No emulator runs kernels for AVX-512.
COUNTED = ("neon_i8mm", "neon_dotprod", "neon", "avx2")
LEAST_NS = 1e-4  # that a profile may say


def main() -> int:
    """0; 1 when a file differs or something is missing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 if a profile would change"
    )
    parser.add_argument("--device", nargs="+", metavar="ID", help="only these profiles")
    parser.add_argument(
        "--count", nargs="*", metavar="KERNEL", help=f"first make {MIX.name} anew, or so much of it"
    )
    options = parser.parse_args()
    try:
        if options.count is not None:
            new = count_all(TARGETS, options.count)
            write_mix(with_counts(read_mix(), new) if options.count else new)
        changed = [path for path in paths(options.device) if update(path, options.check)]
    except (CountError, CoreError, ProfileError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in changed:
        print(f"{path.stem} {'differs' if options.check else 'rewritten'}")
    return int(options.check and bool(changed))


def paths(devices: list[str] | None) -> list[Path]:
    """Files of the named profiles, or of all."""
    if devices is None:
        return sorted(PROFILES.glob("*.toml"))
    return [PROFILES / f"{device}.toml" for device in devices]


def update(path: Path, check: bool) -> bool:
    """Whether a profile's costs are others than estimated; they are rewritten unless `check`."""
    profile = read_profile(path)
    before = path.read_text(encoding="utf-8")
    costs = [
        estimate(cluster) if cluster.costs.source == SOURCE else None
        for cluster in profile.clusters
    ]
    after = with_costs(before, costs)
    if after != before and not check:
        replace(path, after)
    return after != before


def estimate(cluster: Cluster) -> Costs:
    """Costs of a cluster. CoreError without a table for its core."""
    cores, mix = tables()
    core = core_named(cluster.core, cores)
    isa = next((name for name in COUNTED if name in cluster.instruction_sets), None)
    if isa is None:
        raise CoreError(f"{cluster.core}: no counts for {', '.join(cluster.instruction_sets)}")
    ns = 1e9 / cluster.clock_hz.value
    kernels = {
        name: kernel_cost(core, by_tokens, ns) for name, by_tokens in mix.kernels[isa].items()
    }
    return Costs(
        source=SOURCE,
        estimated=True,
        spread=core.spread,
        kernels=kernels,
        steps=step_costs(core, mix.steps[isa], ns),
    )


def tables() -> tuple[dict[str, Core], Mix]:
    """Both data files, read once."""
    if not CACHE:
        CACHE.append((read_cores(), read_mix()))
    return CACHE[0]


CACHE: list[tuple[dict[str, Core], Mix]] = []


def core_named(name: str, cores: dict[str, Core]) -> Core:
    """The table of the core that a profile names, such as `Cortex-A78AE` or `Cortex-A78 (Kryo)`."""
    for key in sorted(cores, key=len, reverse=True):
        if key.casefold() in name.casefold():
            return cores[key]
    raise CoreError(f"{name} has no table in cores.toml")


def kernel_cost(core: Core, by_tokens: dict[int, Functions], ns: float) -> KernelCost:
    """One kernel's costs in ns, of how long a cycle takes."""
    one, few, many = (cycles(core, by_tokens[tokens]) * ns for tokens in TOKENS)
    multiply = max((many - few) / (TOKENS[2] - TOKENS[1]), LEAST_NS)
    decode = max(few - TOKENS[1] * multiply, 0.0)
    return KernelCost(
        generate_ns=rounded(one), decode_ns=rounded(decode), multiply_ns=rounded(multiply)
    )


def step_costs(core: Core, steps: dict[str, Functions], ns: float) -> dict[str, float]:
    """ns of each step."""
    took = {name: cycles(core, functions) * ns for name, functions in steps.items()}
    found = {name: took[name] for name in STEPS}
    one, four = took["attend-f16-64-1"], took["attend-f16-64-4"]
    softmax = (2 * four - took["attend-f16-128-4"]) / 4
    attend = (four - one - 3 * softmax) / 384
    found["load_f16"] = (one - softmax) / 128 - attend
    found["load_int8"] = (took["attend-int8-64-1"] - softmax) / 128 - attend
    found |= {"attend": attend, "softmax": softmax}
    return {name: rounded(max(value, LEAST_NS)) for name, value in found.items()}


def rounded(value: float) -> float:
    return float(f"{value:.3g}")


def with_costs(text: str, costs: list[Costs | None]) -> str:
    """A profile's text with other [clusters.costs]; None leaves a cluster's as they are."""
    kept: list[str] = []
    clusters = iter(costs)
    skipping = False
    for line in text.splitlines(keepends=True):
        header = line.strip() if line.startswith("[") else ""
        if header == "[clusters.costs]":
            new = next(clusters)
            skipping = new is not None
            if new is not None:
                kept += [*lines_of(new), "\n"]
        elif header and not header.startswith("[clusters.costs."):
            skipping = False
        if not skipping:
            kept.append(line)
    return "".join(kept)


def lines_of(costs: Costs) -> Iterator[str]:
    """The tables of costs as TOML, a kernel in a line."""
    yield f'[clusters.costs]\nsource = "{costs.source}"\n'
    yield f"estimated = {str(costs.estimated).lower()}\n"
    yield f"spread = {costs.spread}\n\n[clusters.costs.kernels]\n"
    for name, cost in costs.kernels.items():
        fields = f"generate_ns = {cost.generate_ns!r}, decode_ns = {cost.decode_ns!r}"
        yield f"{name} = {{ {fields}, multiply_ns = {cost.multiply_ns!r} }}\n"
    yield "\n[clusters.costs.steps]\n"
    yield from (f"{name} = {value!r}\n" for name, value in costs.steps.items())


def replace(path: Path, text: str) -> None:
    """Writes a profile that can be read; the file changes whole or not at all."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        read_profile(Path(partial))
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


if __name__ == "__main__":
    sys.exit(main())
