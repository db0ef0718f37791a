"""The table of two systems at equal bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "quality_table.py"
ROWS = [
    ("original", "none", "as published", 9_000_000, 16.0, 0.0),
    ("llama.cpp", "llama.cpp", "Q4_0", 4_000_000, 4.5, 0.01),
    ("llama.cpp", "llama.cpp", "Q8_0", 7_000_000, 8.5, 0.00008),
    ("llama.cpp", "llama.cpp", "IQ1_S", 2_000_000, 1.65, 0.3),
    ("edgecomp", "trellis", "trellis, 3 bits, embedding 4", 3_000_000, 3.06, 0.004),
    ("edgecomp", "trellis", "trellis, 4 bits, embedding 2", 4_000_000, 4.06, 0.005),
    ("edgecomp", "trellis", "trellis, 5 bits, embedding 6", 5_000_000, 5.06, 0.00004),
]
FIELDS = ("system", "codec", "settings", "file_bytes", "body_bpw", "kl")
EXPECTED = """\
| llama.cpp | file bytes | body bpw | KL | trellis | file bytes | body bpw | KL | ratio of KL |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| Q8_0 | 7,000,000 | 8.50 | 0.00008 | 5 bits, embedding 6 | 5,000,000 | 5.06 | 0.00004 | 0.50 |
| Q4_0 | 4,000,000 | 4.50 | 0.0100 | 3 bits, embedding 4 | 3,000,000 | 3.06 | 0.0040 | 0.40 |
| IQ1_S | 2,000,000 | 1.65 | 0.3000 |  |  |  |  |  |
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    files = []
    for number, part in enumerate((ROWS[:3], ROWS[3:])):
        files.append(folder / f"{number}.json")
        rows = [dict(zip(FIELDS, row, strict=True)) for row in part]
        files[-1].write_text(json.dumps({"rows": rows}))
    command = [sys.executable, str(SCRIPT), *map(str, files), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_best_row_in_no_more_bytes_stands_beside_each(tmp_path: Path) -> None:
    assert run(tmp_path, "--peer", "llama.cpp").stdout == EXPECTED


@pytest.mark.parametrize("arguments", [("--peer", "x"), ("--peer", "llama.cpp", "--codec", "x")])
def test_systems_that_no_row_has(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert "no row has the system or codec x" in done.stderr
