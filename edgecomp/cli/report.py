"""Results as JSON objects and as tables; everything that commands print on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from edgecomp.compression import CompressReport
from edgecomp.inspection import Inspection
from edgecomp.terminal import printable

__all__ = [
    "compress_object",
    "inspect_object",
    "print_compress",
    "print_inspect",
    "print_json",
    "print_table",
]

MAX_DEPTH = 32  # levels of settings that are shown as JSON
NAMED_MATRICES = 8  # raw ones that are named; --json names all
PIPE_COLUMNS = 200  # width of a table that does not go to a terminal


def print_json(value: object) -> None:
    """One JSON value on stdout, keys in the given order, all letters beyond ASCII escaped."""
    print(json.dumps(value, indent=2).replace("\x7f", "\\u007f"))


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]], left: int = 1) -> None:
    """A table on stdout: the first `left` columns left, the others right."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(printable, row))
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS, markup=False).print(table)


def compress_object(report: CompressReport) -> dict[str, object]:
    """A compression's report as JSON fields."""
    return {
        "path": str(report.path),
        "sha256": report.sha256,
        "file_bytes": report.file_bytes,
        "bpw": report.bpw,
        "weights": report.n_weights,
        "tensors": report.n_tensors,
        "resumed_tensors": report.resumed_tensors,
        "encoded_weights": report.encoded_weights,
        "encode_seconds": report.encode_seconds,
        "write_seconds": report.write_seconds,
        "raw_tensors": [
            {
                "name": tensor.name,
                "shape": list(tensor.shape),
                "bytes": tensor.n_bytes,
                "reason": tensor.reason,
            }
            for tensor in report.raw
        ],
        "notes": list(report.notes),
    }


def print_compress(report: CompressReport) -> None:
    """A compression's report, one fact a line."""
    print(f"file: {printable(str(report.path))}")
    print(f"bytes: {report.file_bytes}")
    print(f"whole-file bpw: {report.bpw:.3f}")
    print(f"weights: {report.n_weights}")
    print(f"raw tensors: {raw_text(report)}")
    print(f"encode seconds: {report.encode_seconds:.2f}")
    print(f"sha256: {report.sha256}")


def raw_text(report: CompressReport) -> str:
    """How many tensors stayed raw and why; the names of the first matrices."""
    names: dict[str, list[str]] = {}
    for tensor in report.raw:
        names.setdefault(tensor.reason, []).append(tensor.name if len(tensor.shape) > 1 else "")
    listed = []
    for reason, raw in names.items():
        matrices = [name for name in raw if name]
        more = len(matrices) - NAMED_MATRICES
        text = ", ".join(matrices[:NAMED_MATRICES]) + (f" and {more} more" if more > 0 else "")
        listed.append(f"{len(raw)} {reason}" + (f" ({text})" if text else ""))
    text = f"{len(report.raw)} of {report.n_tensors}"
    return printable(f"{text}; {'; '.join(listed)}" if listed else text)


def inspect_object(found: Inspection) -> dict[str, object]:
    """A container's contents as JSON fields."""
    return {
        "path": str(found.path),
        "file_bytes": found.file_bytes,
        "weights": found.n_weights,
        "bpw": found.bpw,
        "body_bpw": found.body_bpw,
        "table_bytes": found.table_bytes,
        "settings": settings_value(found.settings),
        "damaged": None if found.damaged is None else list(found.damaged),
        "tensors": [
            {
                "name": row.name,
                "shape": list(row.shape),
                "codec": row.codec,
                "bytes": row.n_bytes,
                "bpw": row.bpw,
                "error_bound": row.error_bound,
                "sha256": row.sha256,
            }
            for row in found.tensors
        ],
    }


def settings_value(text: str) -> object:
    """The value of JSON text that can be printed again as JSON; other text as it is."""
    try:
        value: object = json.loads(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return text
    return text if is_deeper(value, MAX_DEPTH) else value


def is_deeper(value: object, levels: int) -> bool:
    """Whether a JSON value has more than `levels` levels."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return levels == 0 or any(is_deeper(item, levels - 1) for item in value)


def print_inspect(found: Inspection) -> None:
    """A container's contents as a table and totals."""
    damaged = set(found.damaged or ())
    print_table(
        ("tensor", "shape", "codec", "bpw", "error bound", "sha256"),
        (
            (
                row.name,
                "x".join(map(str, row.shape)),
                row.codec,
                f"{row.bpw:.3f}",
                f"{row.error_bound:.3g}",
                "DAMAGED" if row.name in damaged else row.sha256[:12],
            )
            for row in found.tensors
        ),
    )
    print()
    print(f"settings: {printable(found.settings)}")
    print(f"file bytes: {found.file_bytes}")
    print(f"weights: {found.n_weights} in {len(found.tensors)} tensors")
    print(f"whole-file bpw: {found.bpw:.3f}")
    print(f"body bpw (encoded tensors and their tables): {found.body_bpw:.3f}")
    if found.damaged is not None:
        print(f"checksums: {f'{len(damaged)} wrong' if damaged else 'all right'}")
