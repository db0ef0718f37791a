"""Finds edgecomp/encode/trellis/trellis.json: `python benchmarks/search_trellis.py`.

For every state size and rate, multipliers and folds are tried on a few Gaussian weights. The best
of them get tables of their own (Lloyd: encode, then move every entry to the mean of the weights
that it stands for), on more weights in every stage, until one is left. Cases of up to 4,096
states take seconds to minutes on two cores, those of 65,536 longer; the result depends on nothing
else. `--only 12/2/1` searches one case: bits of a state, bits of a step, weights of a step.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from rows import note

from devices.host import usable_cores
from edgecomp.encode.trellis.codes import KNOWN, TrellisCode
from edgecomp.encode.trellis.viterbi import Encoding
from runtime_ops import reference

COLUMNS = 512
LOW_RATES = ((1, 1), (2, 1), (3, 1), (4, 1), (3, 2), (5, 2), (7, 2))
HIGH_RATES = ((5, 1), (6, 1), (7, 1), (8, 1))  # with 12 state bits only
CASES = [(L, k, dim) for L in (8, 10, 12, 16) for k, dim in LOW_RATES]
CASES += [(12, k, dim) for k, dim in HIGH_RATES]
LARGEST_INT16 = 8191  # of a wide table: finer than float16 scales
FITTED, ROUNDS = 3, 8  # of the last stage's candidates, and its rounds of Lloyd


@dataclass(frozen=True)
class Stage:
    """Rows of COLUMNS weights, rounds of Lloyd on them, and how many candidates go on."""

    rows: int
    rounds: int
    kept: int


@dataclass(frozen=True)
class Effort:
    """How much is tried: candidates at most, stages, and the rows that the last are fitted to."""

    candidates: int
    stages: tuple[Stage, ...]
    fitted: int


USUAL = Effort(12500, (Stage(16, 0, 256), Stage(64, 1, 32), Stage(192, 2, FITTED)), 1024)
LARGE = Effort(512, (Stage(16, 0, 32), Stage(32, 1, 8), Stage(96, 2, FITTED)), 384)
SPREADS = tuple(round(0.8 + 0.03 * i, 2) for i in range(17))  # of the tables at the start
TRIED, NEAR = 24, (0.97, 1.0, 1.03)  # candidates for each of them; those that finalists get


@dataclass(frozen=True)
class Fit:
    """A trellis (its own table counts for nothing) with a table, and its error with it."""

    code: TrellisCode
    table: NDArray[np.float32]  # in standard deviations
    error: float


def gaussian(rows: int, seed: int) -> NDArray[np.float32]:
    """Unit Gaussian weights, float32 (rows, COLUMNS), of unit mean square."""
    weights = np.random.default_rng(seed).standard_normal((rows, COLUMNS), np.float32)
    return weights / np.float32(np.sqrt(np.mean(weights.astype(np.float64) ** 2)))


def encoding(
    code: TrellisCode, table: NDArray[np.float32], weights: NDArray[np.float32]
) -> Encoding:
    """The weights, encoded."""
    ones = np.ones(max(weights.shape), np.float32)
    rows, columns = weights.shape
    job = Encoding(code.format(0, 0), weights, ones[:rows], ones[:columns], table)
    job.encode(0, columns)
    return job


def error_of(code: TrellisCode, table: NDArray[np.float32], weights: NDArray[np.float32]) -> float:
    """Mean square error."""
    values = encoding(code, table, weights).values
    return float(np.mean((weights - values).astype(np.float64) ** 2))


def fitted(fit: Fit, weights: NDArray[np.float32], rounds: int) -> Fit:
    """The same trellis with its table fitted to these weights, and its error on them."""
    table, fmt = fit.table, fit.code.format(0, 0)
    for _ in range(rounds):
        codes = encoding(fit.code, table, weights).codes
        states = reference.trellis_states(fmt, {"codes": codes.reshape(-1)}, weights.shape)
        places = reference.trellis_places(fmt, states, weights.shape).reshape(-1)
        counts = np.bincount(places, minlength=len(table))
        sums = np.bincount(places, weights.reshape(-1).astype(np.float64), minlength=len(table))
        table = np.where(counts > 0, sums / np.maximum(counts, 1), table).astype(np.float32)
    return Fit(fit.code, table, error_of(fit.code, table, weights))


def quantiles(size: int, spread: float) -> NDArray[np.float32]:
    """Quantiles of a Gaussian of standard deviation `spread`, float32 (size,)."""
    normal = NormalDist(0.0, spread)
    return np.array([normal.inv_cdf((i + 0.5) / size) for i in range(size)], np.float32)


def candidates(state_bits: int, dim: int, most: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Multipliers and folds: all if there are no more than `most`, else drawn.

    A multiplier and its negative give the same trellis with the table turned round.
    """
    rng = np.random.default_rng([state_bits, dim])
    folds = range(state_bits)
    if dim == 1 and len(folds) << (state_bits - 2) <= most:
        yield from (((a,), fold) for a in range(1, 1 << (state_bits - 1), 2) for fold in folds)
        return
    for _ in range(most):
        multipliers = tuple(int(a) | 1 for a in rng.integers(0, 1 << state_bits, dim))
        yield multipliers, int(rng.integers(state_bits)) if rng.integers(2) else 0


def table_size(state_bits: int, bits: float) -> int:
    """Entries: 256, which decoders hold in registers, or more where that costs too much."""
    if bits > 6:
        return 1 << 12
    return 1 << (10 if state_bits == 16 and bits > 3 else 8)


def search(state_bits: int, k: int, dim: int) -> tuple[TrellisCode, float]:
    """The best trellis that was found, its table fitted, and its error on other weights."""
    effort = LARGE if state_bits == 16 else USUAL
    size = table_size(state_bits, k / dim)
    blank = tuple(range(-size // 2, size // 2))
    codes = [
        TrellisCode(state_bits, k, multipliers, fold, blank, 1.0)
        for multipliers, fold in candidates(state_bits, dim, effort.candidates)
    ]
    spread = best_spread(codes, size)
    fits = [Fit(code, quantiles(size, spread), np.inf) for code in codes]
    for i, stage in enumerate(effort.stages):
        weights = gaussian(stage.rows, i)
        if i == 1:
            tables = [quantiles(size, near * spread) for near in NEAR]
            fits = [Fit(fit.code, table, np.inf) for fit in fits for table in tables]
        fits = on_all_cores(partial(fitted, weights=weights, rounds=stage.rounds), fits)
        fits = sorted(fits, key=lambda fit: fit.error)[: stage.kept]
    weights, others = gaussian(effort.fitted, 10), gaussian(effort.fitted, 11)
    largest = LARGEST_INT16 if size > 1 << 10 else 127
    found = []
    for fit in fits:
        code = fit.code.with_table(fitted(fit, weights, ROUNDS).table.astype(np.float64), largest)
        exact = np.array(code.table, np.float32) * np.float32(code.unit)
        found.append((error_of(code, exact, others), code))
    error, code = min(found, key=lambda each: each[0])
    return code, error


def best_spread(codes: Sequence[TrellisCode], size: int) -> float:
    """The spread of quantiles with which the best of some trellises is best."""
    weights = gaussian(16, 20)
    some = codes[:: max(1, len(codes) // TRIED)][:TRIED]
    starts = [Fit(code, quantiles(size, spread), np.inf) for spread in SPREADS for code in some]
    fits = on_all_cores(partial(fitted, weights=weights, rounds=0), starts)
    errors = np.array([fit.error for fit in fits]).reshape(len(SPREADS), -1)
    return SPREADS[int(np.argmin(errors.min(axis=1)))]


def on_all_cores(work: Callable[[Fit], Fit], fits: Sequence[Fit]) -> list[Fit]:
    """`work` of every one of them, in order."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(work, fits))


def main() -> None:
    """Searches and writes the file; cases that are not asked for stay as they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="a case such as 12/2/1; repeatable")
    only = parser.parse_args().only
    names = ["/".join(map(str, case)) for case in CASES]
    for name in only or ():
        if name not in names:
            parser.error(f"no case {name}, expected one of {', '.join(names)}")
    known = {case_of(entry): entry for entry in json.loads(KNOWN.read_text() or "[]")}
    for case, name in zip(CASES, names, strict=True):
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
