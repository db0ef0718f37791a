"""Cycles that a core takes for a mix of instructions, from published throughput tables.

benchmarks/data/cores.toml says, for each core, how many instructions it starts in a cycle, which
pipes it has and which of them each class of instructions occupies. A function takes at least
    max(instructions / width, work that only pipes of a group can do / pipes of the group),
over all groups of pipes; a core reaches a stated share of that, its `efficiency`. Latency is not in
it: out-of-order cores hide most of it, and for cores in order it makes the efficiency low.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from instruction_classes import CLASSES, EXTRA

__all__ = ["CORES", "Core", "CoreError", "Use", "cycles", "read_cores"]

CORES = Path(__file__).parent / "data" / "cores.toml"
TERM = re.compile(r"(?:([\d.]+) )?([A-Z][A-Z0-9]*(?:\|[A-Z][A-Z0-9]*)*)")


class CoreError(ValueError):
    """A table that cannot be used."""


@dataclass(frozen=True)
class Use:
    """So many cycles of one of some pipes, whichever is free."""

    pipes: frozenset[str]
    cycles: float


@dataclass(frozen=True)
class Core:
    """How fast a core is, by class of instruction."""

    name: str
    width: float  # instructions started in a cycle
    efficiency: float  # share of the bound that compiled kernels reach
    spread: float  # of estimates, as in devices.profile
    pipes: dict[str, float]  # how many there are of each kind
    uses: dict[str, tuple[Use, ...]]
    sources: tuple[str, ...]
    note: str

    @cached_property
    def groups(self) -> tuple[tuple[frozenset[str], float], ...]:
        """Unions of pipes that classes share, each with how many pipes that are."""
        unions = {use.pipes for uses in self.uses.values() for use in uses}
        while more := {a | b for a in unions for b in unions if a & b} - unions:
            unions |= more
        ordered = sorted(unions, key=sorted)
        return tuple((union, sum(self.pipes[pipe] for pipe in union)) for union in ordered)

    def uses_of(self, kind: str) -> tuple[Use, ...]:
        """Pipes of a class; one of 64 bits without a row of its own is like the register's."""
        found = self.uses.get(kind, self.uses.get(kind.removesuffix("_d")))
        if found is None:
            raise CoreError(f"{self.name} has no row for {kind}")
        return found


def cycles(core: Core, functions: Mapping[str, Mapping[str, float]]) -> float:
    """Cycles of a mix: of each function by itself, since they run one after the other."""
    return sum(bound(core, mix) for mix in functions.values()) / core.efficiency


def bound(core: Core, mix: Mapping[str, float]) -> float:
    """The least cycles of one function's instructions."""
    issued = sum(count for kind, count in mix.items() if kind not in EXTRA)
    demand: defaultdict[frozenset[str], float] = defaultdict(float)
    for kind, count in mix.items():
        for use in core.uses_of(kind):
            demand[use.pipes] += use.cycles * count
    pressure = [
        sum(work for pipes, work in demand.items() if pipes <= group) / size
        for group, size in core.groups
    ]
    return max([issued / core.width, *pressure])


def read_cores(path: Path = CORES) -> dict[str, Core]:
    """All tables, by the names that profiles give cores. CoreError in one line."""
    with path.open("rb") as file:
        tables = tomllib.load(file)
    return {name: core_of(name, tables) for name, table in tables.items() if "sources" in table}


def core_of(name: str, tables: dict[str, dict[str, object]]) -> Core:
    """A table with what it has of the one that it is `like`."""
    table = tables[name]
    fields: dict[str, object] = {}
    uses: dict[str, str] = {}
    for each in lineage(name, tables):
        fields |= {key: value for key, value in tables[each].items() if key != "uses"}
        own = tables[each].get("uses", {})
        assert isinstance(own, dict)
        uses |= own
    pipes = fields["pipes"]
    assert isinstance(pipes, dict)
    if unknown := [kind for kind in uses if not known(kind)]:
        raise CoreError(f"{name}: {unknown[0]} is no class of instructions")
    parsed = {kind: tuple(parse(name, text, pipes)) for kind, text in uses.items()}
    sources = table.get("sources", [])
    assert isinstance(sources, list)
    return Core(
        name,
        number(fields["width"]),
        number(fields["efficiency"]),
        number(fields["spread"]),
        {str(pipe): number(count) for pipe, count in pipes.items()},
        parsed,
        tuple(map(str, sources)),
        str(table.get("note", "")),
    )


def lineage(name: str, tables: dict[str, dict[str, object]]) -> list[str]:
    """The tables that one builds on, the first of them first."""
    names = [name]
    while (parent := tables[names[0]].get("like")) is not None:
        if parent not in tables or parent in names:
            raise CoreError(f"{names[0]} is like {parent}, which is no other core")
        names.insert(0, str(parent))
    return names


def parse(name: str, text: str, pipes: Mapping[str, object]) -> list[Use]:
    """`2 V0|V1 + L`: two cycles of V0 or V1, and one of L; an empty text uses nothing."""
    uses = []
    for term in text.split(" + ") if text else ():
        found = TERM.fullmatch(term)
        if found is None or any(pipe not in pipes for pipe in found[2].split("|")):
            known = ", ".join(sorted(pipes))
            raise CoreError(
                f"{name}: {text!r} (its own, or of the core that it is like) names other pipes "
                f"than {known}; expected such as '2 V0|V1 + L'"
            )
        uses.append(Use(frozenset(found[2].split("|")), float(found[1] or 1)))
    return uses


def known(kind: str) -> bool:
    return kind.removesuffix("_d") in CLASSES or kind in EXTRA


def number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)
