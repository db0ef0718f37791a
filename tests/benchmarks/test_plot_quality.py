"""The plot of quality over size: which rows it has, and that the same rows give the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import plot_quality
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "plot_quality.py"
ROWS: list[plot_quality.Row] = [
    {"system": "original", "codec": "none", "settings": "as published", "file_bytes": 9, "kl": 0.0},
    {"system": "llama.cpp", "codec": "llama.cpp", "settings": "Q4_0", "file_bytes": 4_000_000,
     "kl": 0.01},
    {"system": "edgecomp", "codec": "winding", "settings": "lattice, 3 bits",
     "file_bytes": 3_000_000, "kl": 0.05},
    {"system": "llama.cpp", "codec": "llama.cpp", "settings": "IQ2_S", "file_bytes": 2_500_000,
     "kl": 0.2},
]  # fmt: skip


def test_lines() -> None:
    found = plot_quality.lines(ROWS)
    assert list(found) == ["llama.cpp", "edgecomp, winding, lattice"]
    assert found["llama.cpp"] == [
        plot_quality.Point(2.5, 0.2, "IQ2_S"),
        plot_quality.Point(4.0, 0.01, "Q4_0"),
    ]
    assert found["edgecomp, winding, lattice"] == [plot_quality.Point(3.0, 0.05, "")]


def drawn(folder: Path, files: list[Path]) -> bytes:
    """The plot of the files' rows, by the command."""
    out = folder / "quality.svg"
    command = [sys.executable, str(SCRIPT), *map(str, files), "--out", str(out)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert [path for path in folder.iterdir() if "partial" in path.name] == []
    return out.read_bytes()


def test_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need benchmarks/requirements.txt")
    both = tmp_path / "both.json"
    both.write_text(json.dumps({"rows": ROWS}))
    halves = []
    for number, rows in enumerate((ROWS[:2], ROWS[2:])):
        halves.append(tmp_path / f"{number}.json")
        halves[-1].write_text(json.dumps({"rows": rows}))
    svg = drawn(tmp_path, [both])
    assert svg == drawn(tmp_path, halves)
    texts = {node.text for node in ElementTree.fromstring(svg).iter() if node.text}
    assert {"llama.cpp", "edgecomp, winding, lattice", "IQ2_S", "Q4_0", "file, MB"} <= texts
    assert len(svg) < 40_000
