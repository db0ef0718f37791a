"""Finds edgecomp/encode/trellis/trellis.json: `python benchmarks/search_trellis.py`.

For every state size and rate, multipliers and folds are tried on a few Gaussian weights, the best
of them on more, and the table of the best is fitted to a million (Lloyd: encode, then move every
entry to the mean of the weights that it stands for). Takes about half an hour on two cores; the
result depends on nothing else. `--only 12/2/1` searches one case: bits of a state, bits of a step,
weights of a step.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from rows import note

from edgecomp.encode.trellis.codes import KNOWN, TrellisCode
from edgecomp.encode.trellis.viterbi import Encoding
from runtime_ops import reference

COLUMNS = 512
LOW_RATES = ((1, 1), (2, 1), (3, 1), (4, 1), (3, 2), (5, 2), (7, 2))
HIGH_RATES = ((5, 1), (6, 1), (7, 1), (8, 1))  # with 12 state bits only
CASES = [(L, k, dim) for L in (8, 10, 12, 16) for k, dim in LOW_RATES if 2 * k <= L]
CASES += [(12, k, dim) for k, dim in HIGH_RATES]
LARGEST_INT16 = 8191  # of a wide table: finer than float16 scales


@dataclass(frozen=True)
class Effort:
    """How much is tried: candidates at most, and rows of COLUMNS weights in each stage."""

    candidates: int
    few: int
    finalists: int
    many: int
    fitted: int
    rounds: int


USUAL = Effort(candidates=12000, few=16, finalists=48, many=128, fitted=2048, rounds=14)
LARGE = Effort(candidates=128, few=16, finalists=8, many=64, fitted=768, rounds=6)  # 65,536 states


def gaussian(rows: int, seed: int) -> NDArray[np.float32]:
    """Unit Gaussian weights, float32 (rows, COLUMNS)."""
    return np.random.default_rng(seed).standard_normal((rows, COLUMNS), np.float32)


def encoded(
    code: TrellisCode, table: NDArray[np.float32], weights: NDArray[np.float32]
) -> tuple[float, NDArray[np.uint32]]:
    """Mean square error, and every weight's place in the table."""
    fmt = code.format(0, 0)
    ones = np.ones(max(weights.shape), np.float32)
    rows, columns = weights.shape
    job = Encoding(fmt, weights.copy(), ones[:rows], ones[:columns], table)
    job.encode(0, columns)
    states = reference.trellis_states(fmt, {"codes": job.codes.reshape(-1)}, weights.shape)
    places = reference.trellis_places(fmt, states, weights.shape)
    return float(np.mean((weights - job.values) ** 2)), places


def quantiles(size: int, spread: float) -> NDArray[np.float32]:
    """Quantiles of a Gaussian of standard deviation `spread`, float32 (size,)."""
    normal = NormalDist(0.0, spread)
    return np.array([normal.inv_cdf((i + 0.5) / size) for i in range(size)], np.float32)


def candidates(state_bits: int, dim: int, most: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Multipliers and folds: all if there are no more than `most`, else drawn."""
    rng = np.random.default_rng([state_bits, dim])
    folds = [0, *range(2, state_bits)]
    if dim == 1 and len(folds) << (state_bits - 2) <= most:
        yield from (((a,), fold) for a in range(1, 1 << (state_bits - 1), 2) for fold in folds)
        return
    for _ in range(most):
        multipliers = tuple(int(a) | 1 for a in rng.integers(0, 1 << state_bits, dim))
        yield multipliers, int(rng.choice(folds))


def search(state_bits: int, k: int, dim: int) -> tuple[TrellisCode, float]:
    """The best trellis that was found, its table fitted, and its error on other weights."""
    effort = LARGE if state_bits == 16 else USUAL
    wide = k > 6 * dim
    size = 1 << (12 if wide else 8)
    bits = k / dim
    spreads = (1.0, 1.1, 1.25, 1.5) if bits > 3 else (float(np.sqrt(1 - 4.0**-bits)),)
    blank = tuple(range(-128, 128)) if not wide else tuple(range(-2048, 2048))
    few, many = gaussian(effort.few, 1), gaussian(effort.many, 2)
    tries = [
        TrellisCode(state_bits, k, multipliers, fold, blank, 1.0)
        for multipliers, fold in candidates(state_bits, dim, effort.candidates)
    ]
    table = quantiles(size, spreads[len(spreads) // 2])
    tries.sort(key=lambda code: encoded(code, table, few)[0])
    finalists = [(code, spread) for code in tries[: effort.finalists] for spread in spreads]
    code, spread = min(
        finalists, key=lambda each: encoded(each[0], quantiles(size, each[1]), many)[0]
    )
    table = quantiles(size, spread)
    weights = gaussian(effort.fitted, 3)
    for _ in range(effort.rounds):
        places = encoded(code, table, weights)[1].reshape(-1)
        counts = np.bincount(places, minlength=size)
        sums = np.bincount(places, weights.reshape(-1).astype(np.float64), minlength=size)
        table = np.where(counts > 0, sums / np.maximum(counts, 1), table).astype(np.float32)
    fitted = code.with_table(table.astype(np.float64), LARGEST_INT16 if wide else 127)
    exact = np.array(fitted.table, np.float32) * np.float32(fitted.unit)
    return fitted, encoded(fitted, exact, gaussian(effort.fitted, 4))[0]


def main() -> None:
    """Searches and writes the file; cases that are not asked for stay as they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="a case such as 12/2/1; repeatable")
    only = parser.parse_args().only
    known = {case_of(entry): entry for entry in json.loads(KNOWN.read_text() or "[]")}
    for case in CASES:
        name = "/".join(map(str, case))
        if only is not None and name not in only:
            continue
        code, error = search(*case)
        entry = {**asdict(code), "mse": float(f"{error:.5g}")}
        known[case] = entry
        note(f"{name}: multipliers {code.multipliers}, fold {code.fold}, mse {error:.5f}")
        lines = ",\n".join(json.dumps(known[each]) for each in sorted(known))
        KNOWN.write_text(f"[\n{lines}\n]\n")


def case_of(entry: dict[str, object]) -> tuple[int, int, int]:
    """State bits, step bits and weights of a step."""
    multipliers = entry["multipliers"]
    assert isinstance(multipliers, list), "as this command writes them"
    return int(str(entry["state_bits"])), int(str(entry["step_bits"])), len(multipliers)


if __name__ == "__main__":
    main()
