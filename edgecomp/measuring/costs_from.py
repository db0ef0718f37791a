"""What kernels and steps cost on a core, from the lines about it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from devices.profile import STEPS, Costs, KernelCost
from edgecomp.measuring.errors import MeasureError
from edgecomp.measuring.lines import Attention, Kernel, Measurements

__all__ = ["LEAST_SPREAD", "attention_costs", "core_costs", "kernel_cost", "least_ns", "spread_of"]

LEAST_SPREAD = 0.03  # what a second measurement on a quiet device differs by
MOST_SPREAD = 0.9
FEW, MANY = 16, 128  # tokens of the two products that a line goes through
LEAST_NS = 1e-4  # for a weight or a number: nothing is faster, and a profile takes nothing less
ATTENTION = ("load_f16", "load_int8", "attend", "softmax")


def core_costs(found: Measurements, core: int) -> Costs:
    """The costs of a core. MeasureError where lines are missing."""
    kernels = [line for line in found.kernels if line.core == core and line.where == "cache"]
    kernels = [line for line in kernels if line.threads == 1]
    steps = [line for line in found.steps if line.core == core and line.name in STEPS]
    attention = [line for line in found.attention if line.core == core]
    by_name = {line.name: least_ns(line.ns) for line in steps} | attention_costs(attention)
    if missing := [name for name in STEPS if name not in by_name]:
        raise incomplete(f"step {missing[0]} on core {core}")
    widths = [width(each.low, each.ns_per_weight, each.high) for each in kernels]
    return Costs(
        source="measured",
        estimated=False,
        spread=spread_of(widths),
        kernels=kernel_costs(kernels, core),
        steps={name: by_name[name] for name in STEPS},
    )


def incomplete(what: str) -> MeasureError:
    """The error of a measurement that has its end and not all before it."""
    return MeasureError(
        f"the measurement has no {what}", "send the edgecomp-run of this version, measure again"
    )


def kernel_costs(lines: Sequence[Kernel], core: int) -> dict[str, KernelCost]:
    """The cost of each kernel by name."""
    times = {(line.name, line.tokens): line.ns_per_weight for line in lines}
    costs = {}
    for name in sorted({line.name for line in lines}):
        try:
            few, many = times[name, FEW], times[name, MANY]
            costs[name] = kernel_cost(times[name, 1], few, many)
        except KeyError as error:
            what = f"kernel {name} with {error.args[0][1]} tokens on core {core}"
            raise incomplete(what) from None
    if not costs:
        raise incomplete(f"kernel on core {core}")
    return costs


def kernel_cost(one: float, few: float, many: float) -> KernelCost:
    """The cost by ns for a weight with one token, FEW and MANY: a line through the last two,
    through the origin where that would begin below it or not rise."""
    multiply = (many - few) / (MANY - FEW)
    decode = few - FEW * multiply
    if multiply <= 0 or decode < 0:
        multiply, decode = many / MANY, 0.0
    return KernelCost(generate_ns=least_ns(one), decode_ns=decode, multiply_ns=least_ns(multiply))


def least_ns(ns: float) -> float:
    """The time, or the least that a profile takes."""
    return max(ns, LEAST_NS)


def attention_costs(lines: Sequence[Attention]) -> dict[str, float]:
    """ns of ATTENTION: the numbers not below 0 that explain the lines best, relative errors
    counted. For d numbers and g queries a position takes 2 d load + g (2 d attend + softmax):
    keys and values are loaded once, each query multiplies with both and has one score."""
    if not {"f16", "int8"} <= {line.kv for line in lines}:
        return {}
    rows = [
        [2 * line.d_head * (line.kv == kv) for kv in ("f16", "int8")]
        + [line.group * 2 * line.d_head, line.group]
        for line in lines
    ]
    times = np.array([line.ns_per_position for line in lines])
    matrix = np.array(rows, dtype=np.float64) / times[:, None]
    if np.linalg.matrix_rank(matrix) < len(ATTENTION):
        return {}
    solution = not_negative(matrix, np.ones(len(lines)))
    return {name: least_ns(float(ns)) for name, ns in zip(ATTENTION, solution, strict=True)}


def not_negative(matrix: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """The x >= 0 with the least |matrix x - right|: the best of the solutions for each choice of
    unknowns that are not 0, which is all of them for as few as here."""
    n = matrix.shape[1]
    best, least = np.zeros(n), float(right @ right)
    for size in range(1, n + 1):
        for chosen in map(list, itertools.combinations(range(n), size)):
            part = np.linalg.lstsq(matrix[:, chosen], right, rcond=None)[0]
            rest = matrix[:, chosen] @ part - right
            if (part >= 0).all() and rest @ rest < least:
                best, least = np.zeros(n), float(rest @ rest)
                best[chosen] = part
    return best


def width(low: float, value: float, high: float) -> float:
    """Half of what rounds differ by, relative; 1 at most."""
    return min(abs(high - low) / (2 * value), 1.0) if value > 0 else 0.0


def spread_of(widths: Iterable[float]) -> float:
    """The spread of figures with such widths: nine of ten are not wider."""
    every = list(widths)
    wide = float(np.quantile(every, 0.9)) if every else 0.0
    return min(max(wide, LEAST_SPREAD), MOST_SPREAD)
