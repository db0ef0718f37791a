"""Products of CRVQ matrices with vectors, beside torch's float32 and numpy's in the same run.

Matrices have one basic and three extended codebooks with 2 % critical columns. `gemv` is one token,
by lookup tables or from decoded weights (`*` marks what the runtime does at that shape), `gemm` 32
tokens from decoded weights. Tables below their threshold are timed on so many rows of a taller
matrix. Times are medians; `torch_ratio` is torch's time over this one in the same run: more is
better. numpy has all cores. MatMulNBits is a row where onnxruntime is installed. Example:
`python benchmarks/crvq_decode.py --json`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import matmul_nbits
import numpy as np
from numpy.typing import NDArray
from rows import Row, note, print_rows

from devices.host import usable_cores
from runtime_ops import CrvqFormat, EncodedTensor, native
from runtime_ops.formats import Table
from runtime_ops.formats.crvq import TABLE_ROWS
from runtime_ops.native import NativeMatrix

SHAPES = [(64, 1024), (128, 1024), (256, 256), (1024, 1024), (4096, 4096), (11008, 4096)]
QUICK_SHAPES = SHAPES[:4]
CRITICAL = 0.02
STAGES = 4
TOKENS = 32
SEED = 20261122


def random_matrix(rows: int, columns: int) -> EncodedTensor:
    """A matrix of random codes, one basic codebook and three extended ones."""
    rng = np.random.default_rng(SEED)
    codebooks = rng.integers(-128, 128, (STAGES, 256, 8), np.int8)
    critical_groups = (max(1, round(CRITICAL * columns / 8)),) * (STAGES - 1)
    fmt = CrvqFormat(8, 8, critical_groups, (2, 1, 0, 0), Table.of(codebooks))
    sizes = {spec.name: spec.size for spec in fmt.part_specs((rows, columns))}
    parts: dict[str, NDArray[np.generic]] = {
        "codes": rng.integers(0, 256, sizes["codes"], np.uint8),
        "extended": rng.integers(0, 256, sizes["extended"], np.uint8),
        "scales": rng.uniform(0.5, 1, rows).astype(np.float16),
        "params": np.array([1e-4], np.float32),
    }
    return EncodedTensor(fmt, (rows, columns), parts)


def median_ms(work: Callable[[], object], seconds: float) -> float:
    """Median milliseconds of the runs that fit in `seconds`, at least 5, after two first ones."""
    work()
    work()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def peer_times(
    weights: NDArray[np.float32], x: NDArray[np.float32], threads: int, seconds: float
) -> dict[str, float]:
    """Milliseconds of torch with decoded weights, and of onnxruntime with 4-bit ones."""
    import torch

    torch.set_num_threads(threads)
    w, tokens = torch.from_numpy(weights), torch.from_numpy(x)
    if len(x) == 1:
        vector = tokens[0]
        times = {"torch": median_ms(lambda: torch.mv(w, vector), seconds)}
    else:
        times = {"torch": median_ms(lambda: tokens @ w.T, seconds)}
    if matmul_nbits.is_installed():
        multiply = matmul_nbits.multiplier(weights.shape[0], weights.shape[1], threads)
        times["MatMulNBits, 4 bits"] = median_ms(partial(multiply, x), seconds)
    return times


def own_times(
    tensor: EncodedTensor, x: NDArray[np.float32], threads: int, seconds: float
) -> dict[str, float]:
    """Milliseconds of the runtime: by tables and from decoded weights."""
    matrix = NativeMatrix(tensor)
    direct = median_ms(partial(matrix.gemm, x, threads), seconds)
    if len(x) > 1:
        return {"direct*": direct}
    chosen = matrix.rows >= TABLE_ROWS
    times = {"direct" if chosen else "direct*": direct}
    if chosen:
        times["table*"] = median_ms(partial(matrix.gemv, x[0], threads), seconds)
    elif threads == 1:
        taller = NativeMatrix(random_matrix(TABLE_ROWS, matrix.columns))
        work = partial(taller.gemv_rows, 0, matrix.rows, x[0])
        times["table"] = median_ms(work, seconds)
    return times


def shape_rows(rows: int, columns: int, seconds: float) -> list[Row]:
    """Rows of one shape. numpy comes last: its threads go on spinning for a while."""
    rng = np.random.default_rng(SEED)
    tensor = random_matrix(rows, columns)
    weights = native.decode(tensor)
    cores = usable_cores()
    found: list[Row] = []
    for what, n_tokens in (("gemv", 1), ("gemm", TOKENS)):
        x = rng.normal(0, 1, (n_tokens, columns)).astype(np.float32)
        for threads in sorted({1, min(2, cores)}):
            peers = peer_times(weights, x, threads, seconds)
            times = {(how, threads): ms for how, ms in peers.items()}
            own = own_times(tensor, x, threads, seconds)
            times |= {(how, threads): ms for how, ms in own.items()}
            if threads == min(2, cores):
                inputs = x[0] if n_tokens == 1 else x.T
                times["numpy", cores] = median_ms(partial(np.matmul, weights, inputs), seconds)
            found += [
                {
                    "shape": f"{rows} x {columns}",
                    "what": what,
                    "how": how,
                    "threads": n_threads,
                    "ms": ms,
                    "weights_per_ns": rows * columns * n_tokens / ms / 1e6,
                    "torch_ratio": peers["torch"] / ms,
                }
                for (how, n_threads), ms in times.items()
            ]
    return found


def main() -> None:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="up to 1024 x 1024, shorter runs")
    arguments = parser.parse_args()
    if not matmul_nbits.is_installed():
        note("no rows of MatMulNBits: onnxruntime or onnx is not installed")
    rows: list[Row] = []
    for shape in QUICK_SHAPES if arguments.quick else SHAPES:
        note(f"{shape[0]} x {shape[1]}")
        rows += shape_rows(*shape, 0.05 if arguments.quick else 0.4)
    print_rows(rows, arguments.json)


if __name__ == "__main__":
    main()
