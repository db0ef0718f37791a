"""Seconds and relative loss of every stage that encodes a random layer with CRVQ, and its memory.

The layer is 4096 x 4096 (--quick: 1024 x 1024) Gaussian weights; its inputs have a spectrum that
decays like 1 / rank and a few outlier channels, as in language models. `loss` is that of the
decoded layer over that of zeros. `hours_7b` are the seconds of all stages so far times the weights
of a Llama-2-7B's linears over the layer's: 32 blocks of four matrices 4096 x 4096 and three
4096 x 11008, 6.48e9 weights in all. Example: `python benchmarks/crvq_layer.py --json`.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch
from rows import Row, note, print_rows
from torch import Tensor

from edgecomp.encode.crvq.importance import damped, importance, order_columns
from edgecomp.encode.crvq.layer import Problem, encode_matrices
from edgecomp.encode.settings import CrvqSettings

OUTLIERS = 8  # input channels
OUTLIER_FACTOR = 8.0  # of their amplitude
WEIGHTS_7B = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)


def random_hessian(columns: int, generator: torch.Generator) -> Tensor:
    """Mean of x x^T with eigenvalues about 1 / rank and outlier channels, (columns, columns)."""
    mix = torch.randn(columns, columns, generator=generator)
    mix *= torch.arange(1, columns + 1).rsqrt()[:, None]
    outliers = torch.randperm(columns, generator=generator)[:OUTLIERS]
    mix[:, outliers] *= OUTLIER_FACTOR
    return mix.T @ mix


def peak_bytes() -> int:
    """Most memory that this process had so far (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def layer_rows(size: int, settings: CrvqSettings, seed: int) -> list[Row]:
    """A row for every stage of one layer of size x size."""
    generator = torch.Generator().manual_seed(seed)
    hessian = random_hessian(size, generator)
    weight = 0.02 * torch.randn(size, size, generator=generator)
    rows: list[Row] = []
    clock = begin = time.perf_counter()
    cpu = time.process_time()

    def report(stage: str, loss: float | None) -> None:
        nonlocal clock, cpu
        now, cpu_now = time.perf_counter(), time.process_time()
        row: Row = {
            "codec": "crvq",
            "shape": f"{size} x {size}",
            "importance": settings.importance,
            "stage": stage,
            "seconds": now - clock,
            "cpu_seconds": cpu_now - cpu,
            "loss": loss,
            "total_seconds": now - begin,
            "hours_7b": (now - begin) * WEIGHTS_7B / weight.numel() / 3600,
            "peak_rss_bytes": peak_bytes(),
            "threads": torch.get_num_threads(),
        }
        rows.append(row)
        note(f"{stage}: {now - clock:.2f} s" + ("" if loss is None else f", loss {loss:.5f}"))
        clock, cpu = time.perf_counter(), time.process_time()

    hessian = damped(hessian, settings.damping)
    size_of_book = (settings.dim, 1 << settings.codebook_bits)
    scores = importance(settings.importance, weight, hessian, *size_of_book, generator)
    order = order_columns([scores])
    weight, hessian = weight[:, order], hessian[order][:, order]
    report("importance", None)
    n_critical = int(size * settings.critical) // settings.dim * settings.dim
    problem = Problem("layer", weight, hessian, n_critical)
    encode_matrices([problem], settings, generator, report)
    return rows


def main() -> None:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="1024 x 1024 instead of 4096 x 4096")
    parser.add_argument("--seed", type=int, default=20261122, help="of layer and encoder")
    arguments = parser.parse_args()
    size = 1024 if arguments.quick else 4096
    rows = layer_rows(size, CrvqSettings(), arguments.seed)
    if not arguments.quick:
        rows += layer_rows(size, CrvqSettings(importance="activation", sweeps=0), arguments.seed)
    print_rows(rows, arguments.json)


if __name__ == "__main__":
    main()
