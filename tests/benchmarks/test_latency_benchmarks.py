"""Predictions beside measurements and beside what others published: rows, and docs/devices.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_latency import PUBLISHED, markdown
from ssh_server import TOOLS

from tests.benchmarks.test_benchmarks import ROOT, rows_of
from tests.tools import require

PAGE = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")


def test_the_page_has_the_table_of_published_speeds() -> None:
    assert markdown() in PAGE


def test_published_rows() -> None:
    rows = rows_of("published_latency.py")
    assert len(rows) == len(PUBLISHED) >= 8
    for row in rows:
        assert row["low"] < row["predicted_tokens_per_second"] < row["high"]
        expected = row["published_tokens_per_second"] / row["predicted_tokens_per_second"]
        assert row["ratio"] == pytest.approx(expected)


@pytest.mark.slow
def test_predictions_print_their_rows(tmp_path: Path) -> None:
    """Profiled over ssh, then predicted and measured; no time and no error is asserted."""
    require("benchmarks/latency_prediction.py", TOOLS)
    rows = rows_of("latency_prediction.py", "--quick", "--models", str(tmp_path))
    fields = {"case", "threads", "predicted_ms", "low_ms", "high_ms", "measured_ms"}
    assert {row["threads"] for row in rows} == {1, 2}
    assert len(rows) == 8
    for row in rows:
        assert fields <= set(row)
        assert 0 < row["low_ms"] < row["predicted_ms"] < row["high_ms"]
        assert row["measured_ms"] > 0
