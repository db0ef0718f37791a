"""`edgecomp demo`: the shipped model through the whole road, with one table at the end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgecomp.checkpoint import Checkpoint, open_checkpoint
from edgecomp.cli.report import print_json, print_table
from edgecomp.compression import Calibration, CompressReport, compress_checkpoint
from edgecomp.encode import CrvqSettings, LatticeSettings, PaperSettings, Settings, TrellisSettings
from edgecomp.evaluation import (
    Quality,
    continue_text,
    evaluate_models,
    load_compressed,
    load_original,
    read_tokens,
)
from edgecomp.progress import ProgressCallback

__all__ = ["DemoResult", "print_demo", "run_demo", "shipped_model", "shipped_text"]

WINDOWS = 64
PROMPT = "The old man looked at the sea, and"
NEW_TOKENS = 40


@dataclass(frozen=True)
class DemoRow:
    """One line of the table. The original has no encode time."""

    name: str
    file_bytes: int
    bpw: float
    quality: Quality
    encode_seconds: float | None


@dataclass(frozen=True)
class DemoResult:
    """The table, and the prompt as the original and the compressed model continue it."""

    rows: tuple[DemoRow, ...]
    prompt: str
    continuations: tuple[tuple[str, str], ...]  # (model, text)


def shipped_model() -> Path:
    """The folder of the model that ships with edgecomp."""
    return Path(__file__).parent.parent / "data" / "bookworm"


def shipped_text() -> Path:
    """The validation text that ships with edgecomp, 64 windows of 256 tokens."""
    return Path(__file__).parent.parent / "data" / "bookworm_valid.txt"


def shipped_calibration() -> Path:
    """The text that ships for calibration, 129 windows of other books than the validation text."""
    return Path(__file__).parent.parent / "data" / "bookworm_calib.txt"


def run_demo(
    out: Path | None, progress: ProgressCallback, note: Callable[[str], None]
) -> DemoResult:
    """The demo's result; the trellis container stays at `out` when that is given."""
    checkpoint = open_checkpoint(str(shipped_model()))
    tokenizer = shipped_model() / "tokenizer.json"
    original = load_original(checkpoint)
    systems: dict[str, Settings] = {
        "winding paper U=1600": PaperSettings(),
        "winding lattice 4 bit": LatticeSettings(bits=4.0),
        "trellis 2 bit": TrellisSettings(bits=2.0),
        "crvq 1+3 at 2 %": CrvqSettings(epochs=3.0),
    }
    calibration = Calibration(shipped_calibration())
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.gguf" for i in range(len(systems))]
        if out is not None:
            paths[list(systems).index("trellis 2 bit")] = out
        reports = [
            compress_checkpoint(checkpoint, settings, path, progress, note, calibration)
            for settings, path in zip(systems.values(), paths, strict=True)
        ]
        models = {name: load_compressed(path) for name, path in zip(systems, paths, strict=True)}
    tokens = read_tokens(tokenizer, shipped_text().read_text(encoding="utf-8"))
    scores = evaluate_models(models, original, tokens, WINDOWS, progress)
    rows = [original_row(checkpoint, scores.original)]
    for name, report in zip(systems, reports, strict=True):
        rows.append(compressed_row(name, report, scores.candidates[name]))
    written = {"original": original, **dict(list(models.items())[1:])}
    return DemoResult(
        tuple(rows),
        PROMPT,
        tuple(
            (name, continue_text(model, tokenizer, PROMPT, NEW_TOKENS))
            for name, model in written.items()
        ),
    )


def original_row(checkpoint: Checkpoint, quality: Quality) -> DemoRow:
    """The original's line: bytes of its weight files and tokenizer, like the container's."""
    files = [*checkpoint.shards, *([checkpoint.tokenizer] if checkpoint.tokenizer else [])]
    file_bytes = sum(file.stat().st_size for file in files)
    return DemoRow("original", file_bytes, 8 * file_bytes / checkpoint.n_weights, quality, None)


def compressed_row(name: str, report: CompressReport, quality: Quality) -> DemoRow:
    """A container's line."""
    return DemoRow(name, report.file_bytes, report.bpw, quality, report.encode_seconds)


def print_demo(result: DemoResult, json: bool) -> None:
    """The result on stdout, as a table and text or as one JSON object."""
    if json:
        print_json(demo_object(result))
        return
    print_table(
        ("model", "file bytes", "bpw", "perplexity", "KL (nats)", "top-1", "encode"),
        (
            (
                row.name,
                f"{row.file_bytes:,}",
                f"{row.bpw:.2f}",
                f"{row.quality.ppl:.2f}",
                f"{row.quality.kl:.4f}",
                f"{100 * row.quality.top1:.1f} %",
                "" if row.encode_seconds is None else f"{row.encode_seconds:.1f} s",
            )
            for row in result.rows
        ),
    )
    quality = result.rows[0].quality
    print(f"\n{quality.windows} windows of {quality.context} tokens; bpw counts the whole file\n")
    for name, text in result.continuations:
        print(f"{name}:\n  {result.prompt}{text}\n")


def demo_object(result: DemoResult) -> dict[str, object]:
    """The result as JSON fields."""
    return {
        "rows": [
            {
                "system": row.name,
                "file_bytes": row.file_bytes,
                "bpw": row.bpw,
                **row.quality.as_fields(),
                "encode_seconds": row.encode_seconds,
            }
            for row in result.rows
        ],
        "prompt": result.prompt,
        "continuations": dict(result.continuations),
    }
