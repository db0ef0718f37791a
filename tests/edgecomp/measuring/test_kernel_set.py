"""The container of kernels: every name once, every format that compress makes, random tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecomp.encode import CrvqSettings, LatticeSettings, PaperSettings, TrellisSettings
from edgecomp.encode.settings.trellis import TRELLIS_BITS
from edgecomp.latency.planned import planned_format
from edgecomp.latency.stored import StoredTensor
from edgecomp.measuring.kernel_set import MOST_BYTES, kernel_formats, kernel_tensor, write_kernels
from exporters.gguf import open_container
from runtime_ops.kernel_names import kernel_of
from runtime_ops.reference import decode

FORMATS = kernel_formats()


def test_the_container_has_a_matrix_for_each(tmp_path: Path) -> None:
    path, again = tmp_path / "kernels.gguf", tmp_path / "again.gguf"
    write_kernels(path)
    write_kernels(again)
    assert path.read_bytes() == again.read_bytes()
    with open_container(path) as container:
        assert [entry.name for entry in container.tensors] == list(FORMATS)
        for entry in container.tensors:
            assert kernel_of(entry.format, entry.shape[0]) == entry.name
            assert entry.n_bytes <= 1.1 * MOST_BYTES
            weights = decode(container.read(entry.name))
            size = float(np.sqrt(np.square(weights).mean()))
            assert 0.1 < size * 2048**0.5 < 30, entry.name


def test_the_same_for_a_name() -> None:
    first, second = (kernel_tensor("uniform-4", FORMATS["uniform-4"]) for _ in range(2))
    assert all((first.parts[name] == second.parts[name]).all() for name in first.parts)


@pytest.mark.parametrize("states", [8, 10, 12, 16])
def test_every_setting_has_a_kernel(states: int) -> None:
    settings = [TrellisSettings(bits, states) for bits in TRELLIS_BITS]  # type: ignore[arg-type]
    settings += [
        TrellisSettings(bits, states, table_entries=entries)  # type: ignore[arg-type]
        for bits in TRELLIS_BITS
        for entries in (16, 64, 256)
    ]
    others = (LatticeSettings(2.5), LatticeSettings(8), CrvqSettings(), PaperSettings())
    for each in (*settings, *others, LatticeSettings(3, companded=False)):
        for rows in (64, 1024):
            name = "model.layers.0.mlp.up_proj.weight"
            stored = StoredTensor(name, planned_format(name, (rows, 256), each), (rows, 256))
            for fmt, shape in stored.matrices():
                assert kernel_of(fmt, shape[0]) in FORMATS, each
