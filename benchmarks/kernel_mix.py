"""The committed counts of every kernel: benchmarks/data/kernel_mix.json, and how they are made.

For each instruction set: kernels by tokens, steps, and cases of attention; in each the functions,
and for each function the instructions of a class for one weight, one number or one position.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from instruction_counts import TARGETS, CountError, Emulated, build, compiler_version

from edgecomp.measuring.kernel_set import kernel_formats, kernel_tensor
from exporters.bundle import ModelBundle, TensorSource
from exporters.gguf import write_container

__all__ = ["ATTENTION", "MIX", "TOKENS", "Mix", "count_all", "read_mix", "with_counts", "write_mix"]

MIX = Path(__file__).parent / "data" / "kernel_mix.json"
TOKENS = (1, 16, 64)  # of one product; with 16 and more, time is a line up to 128
STEPS = ("norm", "rope", "swiglu", "quantise", "rotate", "store_f16", "store_int8")
ATTENTION = ("attend-f16-64-1", "attend-f16-64-4", "attend-f16-128-4", "attend-int8-64-1")

Functions = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Mix:
    """Counts of all instruction sets, and the compiler's major version for each machine."""

    compilers: dict[str, str]
    kernels: dict[str, dict[str, dict[int, Functions]]]  # by instruction set, name and tokens
    steps: dict[str, dict[str, Functions]]  # steps and cases of attention


def read_mix(path: Path = MIX) -> Mix:
    """The committed counts."""
    fields = json.loads(path.read_text())
    kernels = {
        isa: {
            name: {int(tokens): functions for tokens, functions in by_tokens.items()}
            for name, by_tokens in kernels.items()
        }
        for isa, kernels in fields["kernels"].items()
    }
    return Mix(fields["compilers"], kernels, fields["steps"])


def write_mix(mix: Mix, path: Path = MIX) -> None:
    """Writes them, a kernel in a line; the file appears whole or not at all."""
    fields = {"compilers": mix.compilers, "kernels": mix.kernels, "steps": mix.steps}
    text = "".join(lines(fields, depth=3)) + "\n"
    descriptor, partial_path = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(partial_path, 0o644)
        os.replace(partial_path, path)
    except BaseException:
        os.unlink(partial_path)
        raise


def lines(value: object, depth: int, indent: str = "") -> Iterator[str]:
    """JSON with dictionaries opened down to a depth."""
    if depth == 0 or not isinstance(value, dict):
        yield json.dumps(value, separators=(",", ":"))
        return
    yield "{"
    for i, (key, each) in enumerate(value.items()):
        yield ("," if i else "") + f"\n{indent} {json.dumps(str(key))}: "
        yield from lines(each, depth - 1, indent + " ")
    yield f"\n{indent}}}"


def count_all(sets: Iterable[str], names: Collection[str] = ()) -> Mix:
    """Counts of the named kernels, or of all and of the steps; minutes for each instruction set.

    CountError.
    """
    compilers: dict[str, str] = {}
    kernels: dict[str, dict[str, dict[int, Functions]]] = {}
    steps: dict[str, dict[str, Functions]] = {}
    with tempfile.TemporaryDirectory() as folder:
        containers = write_containers(Path(folder), names)
        programs: dict[str, Path] = {}
        for isa in sets:
            target = TARGETS[isa]
            if target.machine not in programs:
                programs[target.machine] = build(target, Path(folder))
                compilers[target.machine] = compiler_version(target)
            emulated = Emulated(target, programs[target.machine])
            kernels[isa] = {}
            for name, container in containers.items():
                print(f"\r{isa} {name:40}", end="", file=sys.stderr, flush=True)
                kernels[isa][name] = {
                    tokens: emulated.count(container, name, tokens).rounded() for tokens in TOKENS
                }
            any_container = next(iter(containers.values()))
            steps[isa] = {
                name: emulated.count(any_container, name, 1).rounded()
                for name in (() if names else (*STEPS, *ATTENTION))
            }
    print(file=sys.stderr)
    return Mix(compilers, kernels, steps)


def with_counts(old: Mix, new: Mix) -> Mix:
    """Counts in which new ones replace old ones of the same name."""
    return Mix(
        old.compilers | new.compilers,
        {isa: old.kernels.get(isa, {}) | kernels for isa, kernels in new.kernels.items()},
        {isa: old.steps.get(isa, {}) | steps for isa, steps in new.steps.items()},
    )


def write_containers(folder: Path, names: Collection[str] = ()) -> dict[str, Path]:
    """A container for each kernel, or the named ones: one with all takes longest to check."""
    found = {}
    for name, fmt in kernel_formats().items():
        if not names or name in names:
            found[name] = folder / f"{name}.gguf"
            source = TensorSource(name, partial(kernel_tensor, name, fmt))
            write_container(ModelBundle("kernels", (source,), "{}"), found[name])
    if unknown := set(names) - set(found):
        raise CountError(f"{sorted(unknown)[0]} is no kernel")
    return found
