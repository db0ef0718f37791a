"""A Markdown table of two systems at equal bytes, from what `language_model.py --json` printed.

Beside every row of `--peer` (a system or codec) stands the row of `--codec` that has the least KL
divergence in no more bytes of file; several files of rows count as one. Example:
`python benchmarks/quality_table.py rows.json --peer llama.cpp`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HEADINGS = ("file bytes", "body bpw", "KL")


@dataclass(frozen=True)
class Measured:
    """What the table says of a row of language_model.py."""

    settings: str
    file_bytes: int
    body_bpw: float
    kl: float

    @property
    def cells(self) -> list[str]:
        """Settings, whole bytes, bits per weight of the linears, KL in two digits at least."""
        kl = f"{self.kl:.5f}" if self.kl < 0.001 else f"{self.kl:.4f}"
        return [self.settings, f"{self.file_bytes:,}", f"{self.body_bpw:.2f}", kl]


def select(paths: Sequence[Path], name: str) -> list[Measured]:
    """The rows of a system or codec, largest file first."""
    found = [
        Measured(
            row["settings"].removeprefix(f"{name}, "),
            row["file_bytes"],
            row["body_bpw"],
            row["kl"],
        )
        for path in paths
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]
        if name in (row["system"], row["codec"])
    ]
    return sorted(found, key=lambda each: -each.file_bytes)


def table(peers: Sequence[Measured], own: Sequence[Measured], names: tuple[str, str]) -> str:
    """The table, a line for each peer; those that are smaller than every own row stand alone."""
    peer, codec = names
    titles = [peer, *HEADINGS, codec, *HEADINGS, "ratio of KL"]
    lines = [titles, ["---"] * len(titles)]
    for each in peers:
        fitting = [row for row in own if row.file_bytes <= each.file_bytes]
        if not fitting:
            lines.append([*each.cells, *[""] * 5])
            continue
        best = min(fitting, key=lambda row: row.kl)
        ratio = f"{best.kl / each.kl:.2f}" if each.kl > 0 else ""
        lines.append([*each.cells, *best.cells, ratio])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="+", type=Path, help="what language_model.py --json printed")
    parser.add_argument("--peer", required=True, help="a system or codec, such as llama.cpp")
    parser.add_argument("--codec", default="trellis", help="another (default trellis)")
    arguments = parser.parse_args()
    peers, own = (select(arguments.rows, name) for name in (arguments.peer, arguments.codec))
    if not peers:
        parser.error(f"no row has the system or codec {arguments.peer}")
    if not own:
        parser.error(f"no row has the system or codec {arguments.codec}")
    print(table(peers, own, (arguments.peer, arguments.codec)))


if __name__ == "__main__":
    main()
