"""Results as JSON objects and as tables; everything that commands print on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

from edgecomp.compression import CompressReport
from edgecomp.evaluation import Quality
from edgecomp.inspection import Inspection

__all__ = [
    "compress_object",
    "inspect_object",
    "print_compress",
    "print_inspect",
    "print_json",
    "print_table",
    "quality_object",
]

PIPE_COLUMNS = 200  # width of a table that does not go to a terminal


def print_json(value: object) -> None:
    """One JSON value on stdout, keys in the given order."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table on stdout: the first column left, the others right."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
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
        "notes": list(report.notes),
    }


def print_compress(report: CompressReport) -> None:
    """A compression's report, one fact a line."""
    print(f"file: {report.path}")
    print(f"bytes: {report.file_bytes}")
    print(f"whole-file bpw: {report.bpw:.3f}")
    print(f"weights: {report.n_weights}")
    print(f"encode seconds: {report.encode_seconds:.2f}")
    print(f"sha256: {report.sha256}")


def inspect_object(found: Inspection) -> dict[str, object]:
    """A container's contents as JSON fields."""
    return {
        "path": str(found.path),
        "file_bytes": found.file_bytes,
        "weights": found.n_weights,
        "bpw": found.bpw,
        "body_bpw": found.body_bpw,
        "settings": json.loads(found.settings),
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
    print(f"settings: {found.settings}")
    print(f"file bytes: {found.file_bytes}")
    print(f"weights: {found.n_weights} in {len(found.tensors)} tensors")
    print(f"whole-file bpw: {found.bpw:.3f}")
    print(f"body bpw (encoded tensors alone): {found.body_bpw:.3f}")
    if found.damaged is not None:
        print(f"checksums: {f'{len(damaged)} wrong' if damaged else 'all right'}")


def quality_object(quality: Quality) -> Mapping[str, float | int]:
    """A model's scores as JSON fields."""
    return {
        "ppl": quality.ppl,
        "kl": quality.kl,
        "top1": quality.top1,
        "tokens": quality.tokens,
        "windows": quality.windows,
        "context": quality.context,
    }
