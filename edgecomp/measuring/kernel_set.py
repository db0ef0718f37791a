"""The matrices that a device is measured with: one for each kernel, in a container."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

from edgecomp.encode import LatticeSettings, SettingsError, TrellisSettings, UniformSettings
from edgecomp.encode.lattice_preset import format_for
from edgecomp.encode.paper_preset import paper_format
from edgecomp.encode.settings.trellis import TABLE_ENTRIES, TRELLIS_BITS, StateBits
from edgecomp.encode.trellis.codes import chosen_code
from edgecomp.measuring.random_weights import random_tensor
from exporters.bundle import ModelBundle, TensorSource
from exporters.gguf import write_container
from runtime_ops.formats import CrvqFormat, EncodedTensor, RawFormat, Table, UniformFormat
from runtime_ops.formats.columns import PlainFormat
from runtime_ops.formats.crvq import TABLE_ROWS
from runtime_ops.formats.uniform import UNIFORM_BITS
from runtime_ops.kernel_names import kernel_of

__all__ = ["COLUMNS", "kernel_formats", "kernel_tensor", "write_kernels"]

SEED = 20261123
COLUMNS = 2048
MOST_ROWS = 512  # as many as lookup tables are made for
FEW_ROWS = TABLE_ROWS - 16  # too few for these
MOST_BYTES = 34 << 12  # of a matrix, which leaves room for its input in a small second cache


def kernel_formats() -> dict[str, PlainFormat]:
    """A format for each kernel that `edgecomp compress` can make a matrix for, by name."""
    found: dict[str, PlainFormat] = {}
    for fmt in formats():
        for rows in (MOST_ROWS, FEW_ROWS):
            found.setdefault(kernel_of(fmt, rows), fmt)
    return dict(sorted(found.items()))


def formats() -> Iterator[PlainFormat]:
    """Formats of every codec; those with the same kernel come several times."""
    yield from (RawFormat(dtype) for dtype in ("f16", "f32"))
    yield from (UniformFormat(bits, UniformSettings(bits).group) for bits in UNIFORM_BITS)
    for states in get_args(StateBits):
        for bits in TRELLIS_BITS:
            for entries in (None, *TABLE_ENTRIES):
                settings = TrellisSettings(bits, states, table_entries=entries)
                yield chosen_code(settings).format(0, 0)
    yield from winding_formats()
    for dim in (8, 4):
        codebooks = np.arange(-128, 128, dtype=np.int8).repeat(dim)
        yield CrvqFormat(dim, 8, (), (0,), Table.of(codebooks))


def winding_formats() -> Iterator[PlainFormat]:
    """Both presets: with and without a table, indices in whole bits and in 64."""
    for companded in (True, False):
        for dim in (1, 2, 3, 4):
            for bits in (2.0, 2.5, 3.0, 4.0):
                try:
                    settings = LatticeSettings(bits, dim, companded=companded)
                except SettingsError:
                    continue
                yield format_for(settings, COLUMNS)
    yield paper_format(225, 3)


def kernel_tensor(name: str, fmt: PlainFormat) -> EncodedTensor:
    """A random matrix of the kernel; the same for a name always."""
    per_row = sum(spec.size * spec.dtype.itemsize for spec in fmt.part_specs((16, COLUMNS))) / 16
    rows = min(MOST_ROWS, max(16, int(MOST_BYTES / per_row) // 16 * 16))
    if kernel_of(fmt, rows) != name:
        rows = FEW_ROWS
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    return random_tensor(fmt, (rows, COLUMNS), rng)


def write_kernels(path: Path) -> None:
    """Writes the container: a tensor for each kernel, named as it. OSError."""
    sources = tuple(
        TensorSource(name, partial(kernel_tensor, name, fmt))
        for name, fmt in kernel_formats().items()
    )
    write_container(ModelBundle("kernels", sources, "{}"), path)
