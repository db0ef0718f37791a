"""What every benchmark prints: one JSON object with machine, commit and rows, or a table."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

import devices.host

Row = dict[str, str | int | float | None]


def commit() -> str:
    """The checkout's commit, with '+' when files differ from it; 'unknown' outside of one."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def print_rows(rows: Sequence[Row], as_json: bool) -> None:
    """Prints the rows on stdout."""
    machine = dataclasses.asdict(devices.host.describe())
    if as_json:
        print(json.dumps({"machine": machine, "commit": commit(), "rows": rows}, indent=1))
        return
    table = Table(title=f"{machine['cpu']}, {machine['cores']} cores, commit {commit()}")
    for column in rows[0]:
        side: Literal["left", "right"] = "left" if isinstance(rows[0][column], str) else "right"
        table.add_column(column, justify=side, overflow="fold")
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    Console(width=max(120, Console().width)).print(table)


def note(text: str) -> None:
    """Progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def _text(value: str | int | float | None) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)
