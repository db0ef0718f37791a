"""An SVG of what compression costs: KL divergence over file size, a line for each codec.

From what `language_model.py --json` printed; several files are drawn as one, so that rows can be
measured in parts. The same rows give the same bytes. Example:
`python benchmarks/plot_quality.py rows.json --out docs/quality.svg`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rows import Row

# Okabe and Ito's colours, which the colour-blind tell apart; markers differ too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE = {"svg.hashsalt": "edgecomp", "svg.fonttype": "none", "font.size": 10.0}
LABEL_DEGREES = 40  # neighbours of nearly the same size stay apart
LABEL_CHARACTERS = 8  # longer settings stand in the table alone


@dataclass(frozen=True)
class Point:
    """One row of a line."""

    megabytes: float
    kl: float
    label: str


def lines(rows: Iterable[Row]) -> dict[str, list[Point]]:
    """The points of each system, codec and preset by size; KL 0 has no place."""
    found: dict[str, list[Point]] = {}
    for row in rows:
        kl, n_bytes = row["kl"], row["file_bytes"]
        if not isinstance(kl, float) or not isinstance(n_bytes, int) or kl <= 0:
            continue
        settings = str(row["settings"])
        names = [str(row["system"]), str(row["codec"])]
        if row["codec"] == "winding":
            names.append(settings.partition(",")[0])  # its presets have little in common
        label = settings if len(settings) <= LABEL_CHARACTERS else ""
        name = ", ".join(dict.fromkeys(names))
        found.setdefault(name, []).append(Point(n_bytes / 1e6, kl, label))
    return {
        name: sorted(points, key=lambda point: point.megabytes) for name, points in found.items()
    }


def draw(found: dict[str, list[Point]], out: Path) -> None:
    """Writes the plot; `out` is replaced at once."""
    matplotlib: Any = import_module("matplotlib")  # benchmarks/requirements.txt
    with matplotlib.rc_context(STYLE):
        figure = import_module("matplotlib.figure").Figure(figsize=(9, 6.5), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, points) in enumerate(found.items()):
            colour = COLOURS[number % len(COLOURS)]
            marker = MARKERS[number % len(MARKERS)]
            sizes, losses = [p.megabytes for p in points], [p.kl for p in points]
            axes.plot(sizes, losses, color=colour, marker=marker, markersize=4.5, label=name)
            for point in points:
                at = (point.megabytes, point.kl)
                label = axes.annotate(point.label, at, (3, 3), textcoords="offset points")
                label.set(fontsize=7, rotation=LABEL_DEGREES, color=colour)
        axes.set_yscale("log")
        axes.set_xlabel("file, MB")
        axes.set_ylabel("KL(original || compressed), nats per token")
        axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(frameon=False)
        handle, partial = tempfile.mkstemp(suffix=".svg.partial", dir=out.parent)
        os.close(handle)
        figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None})
        os.chmod(partial, 0o644)
        os.replace(partial, out)


def main() -> None:
    """Writes the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="+", type=Path, help="what language_model.py --json printed")
    parser.add_argument("--out", required=True, type=Path, help="the SVG to write")
    arguments = parser.parse_args()
    rows = [row for path in arguments.rows for row in json.loads(path.read_text())["rows"]]
    found = lines(rows)
    if not found:
        parser.error("no row has a KL above 0")
    draw(found, arguments.out)


if __name__ == "__main__":
    main()
