"""Matrices to encode, and the cheapest path as numpy finds it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgecomp.encode.trellis.codes import TrellisCode, code_for
from edgecomp.encode.trellis.viterbi import Encoding
from runtime_ops import reference
from runtime_ops.formats import TrellisFormat
from runtime_ops.formats.trellis import BAND_ROWS, STRIP_COLUMNS

# Bits per weight and state bits: vectors over groups and over states, one and two weights a step.
CASES = [(1, 8), (1.5, 8), (2, 8), (4, 8), (2.5, 10), (3, 10), (2, 12), (5, 12), (4, 10), (8, 12)]
LOOKED = [(1, 8), (1, 12), (1.5, 10), (2, 8), (2, 10), (3, 10)]  # cheap ones


@dataclass(frozen=True)
class Job:
    """What a search is given, in units of the table."""

    format: TrellisFormat
    targets: NDArray[np.float32]
    row_weights: NDArray[np.float32]
    column_weights: NDArray[np.float32]
    feedback: NDArray[np.float32] | None = None

    def run(self) -> Encoding:
        """The job, done by the C search."""
        job = Encoding(self.format, self.targets.copy(), self.row_weights, self.column_weights)
        job.encode(0, self.targets.shape[1], self.feedback)
        return job

    def cost(self, values: NDArray[np.float32]) -> float:
        """What the values cost; without feedback."""
        weights = np.outer(self.row_weights.astype(np.float64), self.column_weights)
        return float(np.sum(weights * (self.targets.astype(np.float64) - values) ** 2))


def a_job(code: TrellisCode, shape: tuple[int, int], seed: int = 1, feedback: bool = False) -> Job:
    """Gaussian targets with weights of their own, and shares of errors if there is feedback."""
    rng = np.random.default_rng(seed)
    rows, columns = shape
    shares = None
    if feedback:
        drawn = 0.1 * rng.standard_normal((columns, columns))
        strip = np.arange(columns) // STRIP_COLUMNS
        shares = np.where(strip[:, None] > strip, drawn, 0).astype(np.float32)
    return Job(
        code.format(0, 0),
        (rng.standard_normal(shape) / code.unit).astype(np.float32),
        rng.uniform(0.5, 1, rows).astype(np.float32),
        rng.uniform(0.5, 1, columns).astype(np.float32),
        shares,
    )


def job_of(bits: float, state_bits: int, shape: tuple[int, int], feedback: bool = False) -> Job:
    """The same of a known trellis."""
    return a_job(code_for(bits, state_bits), shape, feedback=feedback)


def least_cost(job: Job) -> float:
    """The cost of the best string of a matrix of one band, by Viterbi's algorithm in float64.

    It goes through the steps from the first to the last, the other way round than the C search:
    the state after s is s >> k with any k bits above.
    """
    fmt = job.format
    states = np.arange(1 << fmt.state_bits, dtype=np.uint32)
    folded = states ^ states >> np.uint32(fmt.fold) if fmt.fold else states
    angles = folded[:, None] * np.array(fmt.multipliers, np.uint32) % (1 << fmt.state_bits)
    table = fmt.table.array.astype(np.float64)
    values = table[angles >> np.uint32(fmt.state_bits - fmt.table_bits)]  # (states, dim)
    weights = np.outer(job.row_weights.astype(np.float64), job.column_weights)
    x, h = (steps_of(fmt, each) for each in (job.targets, weights))
    costs = np.zeros(len(states))
    for t in range(len(x)):
        if t:
            before = costs.reshape(-1, 1 << fmt.step_bits).min(axis=1)
            costs = np.tile(before, 1 << fmt.step_bits)
        costs = costs + np.sum(h[t] * (x[t] - values) ** 2, axis=1)
    return float(costs.min())


def steps_of(fmt: TrellisFormat, matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """A band's numbers in the order of its string, float64 (steps, dim)."""
    tiles = matrix.reshape(BAND_ROWS, -1, STRIP_COLUMNS).transpose(1, 0, 2).reshape(-1, 64)
    return tiles[:, fmt.order].reshape(-1, fmt.dim).astype(np.float64)


def drawn_values(fmt: TrellisFormat, shape: tuple[int, int], seed: int) -> NDArray[np.float32]:
    """Values of random codes, in units of the table, float32."""
    codes = np.random.default_rng(seed).bytes(fmt.part_specs(shape)[0].size)
    parts = {"codes": np.frombuffer(codes, np.uint8)}
    states = reference.trellis_states(fmt, parts, shape)
    places = reference.trellis_places(fmt, states, shape)
    return fmt.table.array.astype(np.float32)[places]
