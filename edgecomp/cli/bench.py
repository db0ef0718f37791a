"""`edgecomp bench`: how fast a container's model runs here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecomp.cli.model_options import MAX_THREADS, File, Json, KeysValues, Kv, Pin, model_options
from edgecomp.cli.options import UsageError
from edgecomp.cli.report import print_json, print_table
from edgecomp.progress import Step, show_progress

if TYPE_CHECKING:
    from edgecomp.generation.speed import Speed, SpeedSettings

__all__ = ["bench"]


def bench(
    file: File,
    threads: Annotated[
        str, typer.Option(help="Numbers of threads to measure, such as 1,2 (0: one for each core).")
    ] = "0",
    prefill: Annotated[int, typer.Option(min=1, max=65536, help="Tokens of the prompt.")] = 256,
    generate: Annotated[
        int, typer.Option(min=1, max=65536, help="Tokens generated behind it.")
    ] = 64,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Rounds of both.")] = 3,
    kv: Kv = KeysValues.F16,
    pin: Pin = False,
    json: Json = False,
) -> None:
    """Measure prefill and generation on this machine, and what memory would allow.

    Rates are medians over the rounds. With several numbers of threads, --json prints a list.

    \b
    Example:
      edgecomp bench bookworm.gguf --threads 1,2
    """
    from edgecomp.generation.speed import SpeedSettings, measure_speed

    numbers = thread_numbers(threads)
    settings = SpeedSettings(prefill, generate, rounds)
    speeds = []
    with show_progress() as progress:
        for i, number in enumerate(numbers):

            def show(done: int, before: int = i * rounds) -> None:
                progress(Step("bench", "", before + done, len(numbers) * rounds, unit="rounds"))

            options = model_options(number, 0, kv, pin)
            speeds.append(measure_speed(file, options, settings, show))
    if json:
        objects = [speed_fields(file, speed, settings) for speed in speeds]
        print_json(objects if len(objects) > 1 else objects[0])
    else:
        print_speeds(speeds)


def thread_numbers(text: str) -> tuple[int, ...]:
    """The numbers of a list such as 1,2; UsageError."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) <= MAX_THREADS for part in parts):
        raise UsageError(
            f"--threads is {text}, expected numbers from 0 to {MAX_THREADS}", "--threads 1,2"
        )
    return tuple(map(int, parts))


def speed_fields(file: Path, speed: Speed, settings: SpeedSettings) -> dict[str, object]:
    """A measurement as JSON fields, named as `edgecomp-run bench` does."""
    return {
        "file": str(file),
        "threads": speed.info.n_threads,
        "rounds": settings.rounds,
        "prefill_tokens": settings.prefill,
        "prefill_tokens_per_second": speed.prefill_rate,
        "generate_tokens": settings.generate,
        "generate_tokens_per_second": speed.generate_rate,
        "token_bytes": speed.info.token_bytes,
        "weight_bytes_per_second": speed.weight_bandwidth,
        "read_bytes_per_second": speed.read_bandwidth,
        "bandwidth_share": speed.bandwidth_share,
        "file_bytes": speed.file_bytes,
        "kv_bytes": speed.info.kv_bytes,
        "work_bytes": speed.info.work_bytes,
        "prefill_shares": speed.prefill_shares,
        "generate_shares": speed.generate_shares,
    }


def print_speeds(speeds: Sequence[Speed]) -> None:
    """Two tables: rates, and where the time goes."""
    print_table(
        ("threads", "prefill tok/s", "generate tok/s", "weights GB/s", "memory GB/s", "share"),
        (
            (
                str(speed.info.n_threads),
                f"{speed.prefill_rate:.1f}",
                f"{speed.generate_rate:.1f}",
                f"{speed.weight_bandwidth / 1e9:.2f}",
                f"{speed.read_bandwidth / 1e9:.2f}",
                f"{speed.bandwidth_share:.0%}",
            )
            for speed in speeds
        ),
    )
    print()
    stages = [
        (f"{stage}, {speed.info.n_threads} threads", shares)
        for speed in speeds
        for stage, shares in (
            ("prefill", speed.prefill_shares),
            ("generate", speed.generate_shares),
        )
    ]
    print_table(
        ("time spent", *(name for name, _ in stages)),
        (
            (part, *(f"{shares.get(part, 0):.1%}" for _, shares in stages))
            for part in speeds[0].prefill_shares
        ),
    )
