"""The trellis of every rate: multipliers, fold and table, found by what counts, the error.

They are kept in trellis.json, which benchmarks/search_trellis.py writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode.settings import TrellisSettings
from runtime_ops.formats import Table, TrellisFormat

KNOWN = Path(__file__).parent / "trellis.json"


@dataclass(frozen=True)
class TrellisCode:
    """A trellis without a matrix.

    `table` are integers; `unit` is what one of them counts beside the standard deviation of the
    weights.
    """

    state_bits: int
    step_bits: int
    multipliers: tuple[int, ...]
    fold: int
    table: tuple[int, ...]
    unit: float

    @property
    def dim(self) -> int:
        """Weights of a step."""
        return len(self.multipliers)

    @property
    def bits(self) -> float:
        """Bits per weight."""
        return self.step_bits / self.dim

    def format(self, rotation: int, seed: int) -> TrellisFormat:
        """The format of a matrix that is rotated so."""
        largest = max(map(abs, self.table))
        return TrellisFormat(
            state_bits=self.state_bits,
            step_bits=self.step_bits,
            multipliers=self.multipliers,
            table=Table.of(np.array(self.table, "<i2" if largest > 127 else "i1")),
            fold=self.fold,
            rotation=rotation,
            seed=seed if rotation else 0,
        )

    def with_entries(self, entries: int) -> TrellisCode:
        """The same trellis with a smaller table, each entry the mean of those it stands for."""
        full = np.array(self.table, np.float64) * self.unit
        return self.with_table(full.reshape(entries, -1).mean(axis=1))

    def with_table(self, table: NDArray[np.float64], largest: int = 0) -> TrellisCode:
        """The same trellis with values in units of the standard deviation, made integers.

        Their largest magnitude is `largest`, or what it is now if that needs 16 bits, else 127.
        """
        largest = largest or max(127, *map(abs, self.table))
        unit = float(np.abs(table).max()) / largest
        integers = tuple(int(v) for v in np.rint(table / unit))
        return TrellisCode(
            self.state_bits, self.step_bits, self.multipliers, self.fold, integers, unit
        )


def steps_of(bits: float) -> tuple[int, int]:
    """Bits of a step and weights of a step for so many bits per weight; ValueError for others."""
    ratio = Fraction(bits).limit_denominator(2)
    if float(ratio) != bits or not 1 <= ratio <= 8:
        raise ValueError(f"bits is {bits}, expected a multiple of 0.5 in 1..8")
    return ratio.numerator, ratio.denominator


def code_for(bits: float, state_bits: int) -> TrellisCode:
    """The best known trellis of a rate; ValueError when there is none."""
    step_bits, dim = steps_of(bits)
    found = known_codes().get((state_bits, step_bits, dim))
    if found is None:
        raise ValueError(f"no trellis of {bits:g} bits with {state_bits} state bits is known")
    return found


def chosen_code(settings: TrellisSettings) -> TrellisCode:
    """The trellis that settings ask for; tables of 16 bits, for high rates, stay as they are."""
    code = code_for(settings.bits, settings.states_at(settings.bits))
    entries = settings.table_entries or len(code.table)
    if entries < len(code.table) and max(map(abs, code.table)) < 128:
        return code.with_entries(entries)
    return code


@lru_cache(maxsize=1)
def known_codes() -> dict[tuple[int, int, int], TrellisCode]:
    """The trellises in trellis.json, by state bits, step bits and weights of a step."""
    codes = {}
    for entry in json.loads(KNOWN.read_text()):
        code = TrellisCode(
            entry["state_bits"],
            entry["step_bits"],
            tuple(entry["multipliers"]),
            entry["fold"],
            tuple(entry["table"]),
            entry["unit"],
        )
        codes[code.state_bits, code.step_bits, code.dim] = code
    return codes
