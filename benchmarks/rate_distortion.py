"""Mean square error on unit Gaussian weights per codec and settings: how close to the limit.

`bpw` counts everything stored; `index_bpw` leaves out scales and per-tensor parameters. The limit
is 4**-index_bpw, the scalar optimum Lloyd and Max's quantiser at whole bits; both have rows of
their own. Trellises take the weights as they are, neither rotated nor with feedback; their tables
are those of trellis.json, or fitted to the weights themselves (`refitted`): with --quick such a
table learns much of the few weights by heart, and its bits are a good part of `bpw`. Codebooks of
crvq are fitted to a sample: `fitted` is its error, `fresh` that of another sample with the same
codebooks, which is what their distribution allows. Example: `rate_distortion.py --json`.
"""

from __future__ import annotations

import argparse
import itertools
import math
import secrets
from statistics import NormalDist
from typing import Literal

import integers
import numpy as np
import torch
from numpy.typing import NDArray
from rows import Row, note, print_rows
from search_trellis import Fit, fitted

from edgecomp.encode import (
    ArraySource,
    LatticeSettings,
    PaperSettings,
    Settings,
    TrellisSettings,
    UniformSettings,
    encode,
)
from edgecomp.encode.crvq.feedback import encode_with_feedback
from edgecomp.encode.crvq.layer import Problem, encode_matrices
from edgecomp.encode.crvq.matrix import CodedMatrix, Stage, reconstruct
from edgecomp.encode.crvq.size import paper_bits
from edgecomp.encode.settings import CrvqSettings
from edgecomp.encode.settings.trellis import StateBits
from edgecomp.encode.trellis.codes import code_for, known_codes, steps_of
from edgecomp.encode.trellis.tensor import encode_trellis
from runtime_ops import TrellisFormat, WindingFormat, native
from runtime_ops.formats.uniform import UNIFORM_BITS

PAPER_SIGMA = 0.02  # the published box of 0.1 is 5 standard deviations of these weights

LATTICES: list[tuple[str, int, Literal["korobov", "golden"], bool]] = [
    ("lattice, D 2, golden, uniform, group 128", 2, "golden", False),
    ("lattice, D 2, Korobov, companded, group 128", 2, "korobov", True),
    ("lattice, D 4, Korobov, uniform, group 128", 4, "korobov", False),
    ("lattice, D 4, Korobov, companded, group 128", 4, "korobov", True),
]
ONE_SCALE = 1 << 16  # a group so large that its scale costs nothing
CODEBOOK_COLUMNS = 4096  # of a matrix whose row scales cost and gain next to nothing
CODEBOOKS = [(8, 8, 0), (4, 4, 0), (8, 8, 1), (8, 8, 2), (8, 8, 3)]  # dim, code bits, extended
CODEBOOK_SWEEPS = 5
STATE_BITS: tuple[StateBits, ...] = (8, 10, 12, 16)
TRELLIS_RATES = (1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8)  # where a trellis is known
TRELLIS_COLUMNS = 4096  # of a matrix whose row scales cost next to nothing
SLOW_SAMPLES = 1 << 18  # of the trellises of 65,536 states
REFIT_ROUNDS = 12
BITS = range(1, 9)  # of the rows of what no code and no scalar quantiser can beat


def lattice_cases(bits: int) -> list[tuple[str, Settings]]:
    """Name and settings of every lattice row at that many bits."""
    cases: list[tuple[str, Settings]] = []
    for name, dim, generator, companded in LATTICES:
        settings = LatticeSettings(bits, dim, generator=generator, companded=companded)
        cases.append((name, settings))
    for dim in (2, 4):
        settings = LatticeSettings(bits, dim, group=ONE_SCALE)
        cases.append((f"lattice, D {dim}, Korobov, companded, one scale", settings))
    return cases


def winding_row(name: str, settings: Settings, weights: NDArray[np.float32]) -> Row:
    """The row of an encoder; weights are scaled back to unit variance for the error."""
    tensor = encode(ArraySource(weights), settings)
    assert isinstance(tensor.format, WindingFormat)
    error = np.square(native.decode(tensor).astype(np.float64) - weights).mean()
    return {
        "codec": "winding",
        "settings": name,
        "index_bpw": tensor.format.index_bpw,
        "bpw": 8 * tensor.n_bytes / weights.size,
        "mse": float(error / np.square(weights.astype(np.float64)).mean()),
        "limit": 4.0**-tensor.format.index_bpw,
        "scalar_optimum": lloyd_max(round(2**tensor.format.index_bpw)),
    }


def integer_row(bits: int, weights: NDArray[np.float32]) -> Row:
    """The baseline's row."""
    quantized = integers.quantize(weights, bits)
    error = np.square(integers.dequantize(quantized).astype(np.float64) - weights).mean()
    return {
        "codec": "integers",
        "settings": "round to nearest, group 128",
        "index_bpw": float(bits),
        "bpw": 8 * quantized.n_bytes / weights.size,
        "mse": float(error / np.square(weights.astype(np.float64)).mean()),
        "limit": 4.0**-bits,
        "scalar_optimum": lloyd_max(2**bits),
    }


def uniform_row(bits: int, group: int, weights: NDArray[np.float32]) -> Row:
    """The row of our own group integers, symmetric, their scales searched."""
    tensor = encode(ArraySource(weights), UniformSettings(bits, group))
    error = np.square(native.decode(tensor).astype(np.float64) - weights).mean()
    return {
        "codec": "uniform",
        "settings": f"least error, group {group}",
        "index_bpw": float(bits),
        "bpw": 8 * tensor.n_bytes / weights.size,
        "mse": float(error / np.square(weights.astype(np.float64)).mean()),
        "limit": 4.0**-bits,
        "scalar_optimum": lloyd_max(2**bits),
    }


def trellis_row(
    bits: float, state_bits: StateBits, weights: NDArray[np.float32], refit: bool = False
) -> Row:
    """The row of a trellis, whose table counts; `refit`: fitted to the weights themselves."""
    settings = TrellisSettings(bits, state_bits, rotate=False, feedback=False)
    matrix = weights.reshape(-1, TRELLIS_COLUMNS)
    code = code_for(bits, state_bits)
    if refit:
        table = np.array(code.table, np.float32) * np.float32(code.unit)
        table = fitted(Fit(code, table, math.inf), matrix, REFIT_ROUNDS).table
        code = code.with_table(table.astype(np.float64))
    tensor = encode_trellis(ArraySource(matrix), settings, code=code)
    fmt = tensor.format
    assert isinstance(fmt, TrellisFormat)
    error = np.square(native.decode(tensor).astype(np.float64) - matrix).mean()
    return {
        "codec": "trellis",
        "settings": f"L {state_bits}, table of {fmt.table.array.size}{', refitted' * refit}",
        "index_bpw": float(bits),
        "bpw": 8 * (tensor.n_bytes + fmt.table.array.nbytes) / weights.size,
        "mse": float(error / np.square(weights.astype(np.float64)).mean()),
        "limit": 4.0**-bits,
        "scalar_optimum": lloyd_max(2 ** int(bits)) if bits == int(bits) else None,
        "samples": weights.size,
    }


def bound_rows(bits: int) -> list[Row]:
    """The rows of the limit and of the scalar optimum, which are computed, not measured."""
    limit, scalar = 4.0**-bits, lloyd_max(2**bits)
    names = [("limit", "rate-distortion limit 4^-b", limit)]
    names.append(("scalar", "scalar optimum (Lloyd-Max)", scalar))
    return [
        {
            "codec": codec,
            "settings": name,
            "index_bpw": float(bits),
            "bpw": float(bits),
            "mse": error,
            "limit": limit,
            "scalar_optimum": scalar,
        }
        for codec, name, error in names
    ]


def codebook_rows(case: tuple[int, int, int], samples: int, seed: int) -> list[Row]:
    """The rows of additive codebooks for every group: of the fitted sample and of a fresh one."""
    dim, code_bits, extended = case
    generator = torch.Generator().manual_seed(seed)
    shape = (samples // CODEBOOK_COLUMNS, CODEBOOK_COLUMNS)
    weights, fresh = (torch.randn(shape, generator=generator) for _ in range(2))
    critical = 1.0 if extended else 0.0
    settings = CrvqSettings(
        dim, code_bits, max(1, extended), critical, sweeps=CODEBOOK_SWEEPS, seed=seed
    )
    n_critical = CODEBOOK_COLUMNS if extended else 0
    problem = Problem("gaussian", weights, torch.eye(CODEBOOK_COLUMNS), n_critical)
    (fitted,), books = encode_matrices([problem], settings, generator)
    stages = [Stage(s.codebook, s.first, s.last, torch.zeros_like(s.codes)) for s in fitted.stages]
    scales = fresh.square().mean(1).sqrt()
    other = CodedMatrix("fresh", fresh, problem.hessian, scales, stages, n_critical)
    encode_with_feedback(other, books, dim)
    bits = code_bits / dim * (1 + extended)
    stored = paper_bits(*shape, dim, code_bits, extended, critical)
    return [
        {
            "codec": "crvq",
            "settings": f"{1 + extended} x {code_bits} bits, D {dim}, {name}",
            "index_bpw": bits,
            "bpw": stored / samples,
            "mse": mean_square(matrix.weight - reconstruct(matrix, books))
            / mean_square(matrix.weight),
            "limit": 4.0**-bits,
            "scalar_optimum": lloyd_max(round(2**bits)),
            "samples": samples,
        }
        for name, matrix in (("fitted", fitted), ("fresh", other))
    ]


def mean_square(values: torch.Tensor) -> float:
    """Mean of the squares."""
    return float(values.double().square().mean())


def lloyd_max(levels: int) -> float:
    """Mean square error of the best scalar quantiser of a unit Gaussian (Lloyd's iteration)."""
    normal = NormalDist()
    points = [normal.inv_cdf((i + 0.5) / levels) for i in range(levels)]
    for _ in range(2000):
        edges = [
            -math.inf,
            *((a + b) / 2 for a, b in itertools.pairwise(points)),
            math.inf,
        ]
        pdf = [0.0 if math.isinf(e) else normal.pdf(e) for e in edges]
        cdf = [normal.cdf(e) for e in edges]
        masses = [b - a for a, b in itertools.pairwise(cdf)]
        moved = [(pdf[i] - pdf[i + 1]) / masses[i] for i in range(levels)]
        done = max(abs(a - b) for a, b in zip(points, moved, strict=True)) < 1e-7
        points = moved
        if done:
            break
    return 1.0 - sum(m * p * p for m, p in zip(masses, points, strict=True))


def main() -> None:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument(
        "--quick", action="store_true", help="65,536 samples (crvq: 262,144) instead of 1,048,576"
    )
    parser.add_argument("--seed", type=int, help="of the samples; a fresh one by default")
    arguments = parser.parse_args()
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    samples = 1 << (16 if arguments.quick else 20)
    gaussian = np.random.default_rng(seed).standard_normal(samples).astype(np.float32)
    weights = gaussian.reshape(256, -1)

    rows: list[Row] = []
    for bits in (2, 3, 4, 5, 6):
        note(f"{bits} bits")
        rows += [winding_row(name, s, weights) for name, s in lattice_cases(bits)]
        rows.append(integer_row(bits, weights))
    rows += [uniform_row(bits, group, weights) for bits in UNIFORM_BITS for group in (32, 128)]
    for points in (225, 1600):
        name = f"paper, U {points}, box 0.1, sigma {PAPER_SIGMA}"
        paper = PaperSettings(points=(points,), raw_error=None)
        rows.append(winding_row(name, paper, weights * np.float32(PAPER_SIGMA)))
    for state_bits in STATE_BITS:
        note(f"trellis of {state_bits} state bits")
        known = [bits for bits in TRELLIS_RATES if (state_bits, *steps_of(bits)) in known_codes()]
        some = weights if state_bits < 16 else weights.reshape(-1)[:SLOW_SAMPLES]
        rows += [trellis_row(bits, state_bits, some) for bits in known]
        if state_bits < 16:
            rows += [trellis_row(bits, state_bits, weights, refit=True) for bits in known]
    rows += [row for bits in BITS for row in bound_rows(bits)]
    rows = [{**row, "samples": row.get("samples", samples)} for row in rows]
    for case in CODEBOOKS:
        note("codebooks of dim {}, {} bits, {} extended".format(*case))
        rows += codebook_rows(case, 1 << (18 if arguments.quick else 20), seed)
    print_rows([{**row, "seed": seed} for row in rows], arguments.json)


if __name__ == "__main__":
    main()
