"""What an inspection counts in a container of every codec."""

from __future__ import annotations

import pytest

from edgecomp.inspection import inspect_container
from tests.exporters.broken import GOLDEN
from tests.exporters.small_container import FITTING_NAME, LONG_NAME


def test_codecs_of_tensors_and_of_their_columns() -> None:
    found = inspect_container(GOLDEN)
    assert {row.name: row.codec for row in found.tensors} == {
        "layers.0.weight": "winding",
        "layers.1.weight": "winding",
        "layers.10.weight": "winding",
        LONG_NAME: "winding",
        "norm.weight": "raw",
        "scalar": "raw",
        "shared.a": "crvq",
        "shared.b": "crvq",
        "split.a": "columns(winding+crvq)",
        "split.b": "columns(raw)",
        FITTING_NAME: "columns(crvq+winding)",
        "trellis.a": "trellis",
        "trellis.b": "trellis",
        "trellis.c": "trellis",
        "trellis.d": "columns(trellis+trellis)",
        "trellis.e": "columns(winding+trellis)",
    }


def test_body_counts_each_table_once() -> None:
    """Parts of the encoded tensors, and tables that two or more formats share: no padding."""
    found = inspect_container(GOLDEN)
    assert found.table_bytes == 16 * 2 + 96 * 2 + 4 + 10 * 2 + 16 + 32 * 2
    encoded = [row for row in found.tensors if row.codec != "raw"]
    assert sum(row.n_weights for row in encoded) == 188 + 17 * 6 + 3 * 8 + 1 + 30 + 10
    parts = {row.name: row.n_bytes for row in encoded}
    assert parts["shared.a"] == 3 * 2 + (3 * 2 + 3 * 1) + 3 * 2 + 4
    assert parts["split.a"] == (5 + 1 + 5 * 4) + (3 * 1 + 3 * 2 + 4)
    assert parts["trellis.a"] == 2 * (2 * 16 + 1) + 17 * 2 + 4
    assert found.body_bpw == pytest.approx(8 * (sum(parts.values()) + 328) / 355)
