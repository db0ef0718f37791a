"""A small container of group integers, beside the golden one, which is older than they are."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np

from exporters.bundle import ModelBundle, TensorSource
from exporters.gguf import write_container
from runtime_ops.formats import ColumnsFormat, Format, UniformFormat
from tests.exporters.small_container import LATTICE, ORDER, PAIRED
from tests.runtime_ops.vectors import random_tensor

TWO, FOUR, EIGHT = UniformFormat(2, 32), UniformFormat(4, 64), UniformFormat(8, 1 << 16)
SPLIT = ColumnsFormat(EIGHT, critical=LATTICE, n_critical=4)
CRITICAL = ColumnsFormat(PAIRED, critical=FOUR, n_critical=3, permutation=ORDER)


def uniform_tensors() -> dict[str, tuple[Format, tuple[int, ...]]]:
    """Format and shape of each tensor."""
    return {
        "critical": (CRITICAL, (3, 10)),
        "eight": (EIGHT, (16, 5)),
        "four": (FOUR, (33, 5, 26)),
        "scalar": (TWO, ()),
        "split": (SPLIT, (2, 9)),
        "two": (TWO, (17, 66)),
    }


@functools.cache
def uniform_file() -> bytes:
    """The container; the same bytes every time."""
    rng = np.random.default_rng(20261123)
    tensors = {
        name: random_tensor(fmt, shape, rng) for name, (fmt, shape) in uniform_tensors().items()
    }
    sources = tuple(TensorSource(name, lambda t=tensor: t) for name, tensor in tensors.items())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "uniform.gguf"
        write_container(ModelBundle("uniform", sources, "{}"), path)
        return path.read_bytes()
