"""The command line: `edgecomp calibrate | compress | inspect | eval | run | ...`.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 130
interrupted.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from edgecomp import pipeline
from edgecomp.calibration import CalibrateSettings
from edgecomp.cli import crvq_options as crvq
from edgecomp.cli import options
from edgecomp.cli import trellis_options as trellis
from edgecomp.cli.bench import bench
from edgecomp.cli.calibrate import calibrate_object, print_calibrate
from edgecomp.cli.demo import print_demo, run_demo
from edgecomp.cli.devices import devices_app
from edgecomp.cli.errors import fail, note, report_error
from edgecomp.cli.latency import latency
from edgecomp.cli.measure import measure
from edgecomp.cli.options import Codec, Preset, SettingsOptions, UsageError, settings_from
from edgecomp.cli.report import (
    compress_object,
    inspect_object,
    print_compress,
    print_inspect,
    print_json,
    print_table,
)
from edgecomp.cli.run import run
from edgecomp.cli.serve import serve
from edgecomp.progress import show_progress

__all__ = ["app", "main"]

KEEPING = {"calibrate", "compress"}  # commands that go on where they were interrupted
INTERRUPTED = 130  # what typer makes of Ctrl-C
LARGE_FILE_BYTES = 100_000_000  # from here on checksums take long enough to show progress

app = typer.Typer(
    add_completion=False, rich_markup_mode=None,
    help="Compress a model's weights for a device, judge what that cost, and run it.",
)  # fmt: skip

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Options of every command; `--debug` is read in `main`."""
    del debug
    if show_version:
        print(f"edgecomp {version('edgecomp')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise UsageError("no command is given", "edgecomp --help lists the commands")


@app.command()
def calibrate(
    model: Annotated[str, typer.Argument(help="Hugging Face folder, or hub id owner/name.")],
    text: Annotated[Path, typer.Option(help="UTF-8 text that the model reads.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    windows: Annotated[
        int, typer.Option(min=1, help="Windows of the text, spread evenly over it.")
    ] = 256,
    context: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens in a window (default: 512, or what the model can read)."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1, ...; auto: cuda where torch sees one.")
    ] = "auto",
    imatrix: Annotated[
        Path | None, typer.Option(help="Write llama.cpp's imatrix (GGUF) here as well.")
    ] = None,
    json: Json = False,
) -> None:
    """Gather statistics of what MODEL's linears read. A run that was killed goes on.

    \b
    Example:
      edgecomp calibrate ./bookworm --text valid.txt -o stats
    """
    settings = CalibrateSettings(windows, context, device, imatrix)
    with show_progress() as progress:
        report = pipeline.calibrate(model, text, out, settings, progress, note)
    if json:
        print_json(calibrate_object(report))
    else:
        print_calibrate(report)


@app.command()
def compress(
    model: Annotated[str, typer.Argument(help="Hugging Face folder, or hub id owner/name.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="Container to write.")],
    codec: Annotated[
        Codec | None,
        typer.Option(help="How weights become codes (default trellis, or what other options say)."),
    ] = None,
    preset: Annotated[
        Preset | None,
        typer.Option(help="winding: paper (as published) or lattice (ours, the default)."),
    ] = None,
    bits: options.Bits = None,
    points: options.Points = None,
    box: options.Box = None,
    classes: options.Classes = None,
    max_error: options.MaxError = None,
    target_error: options.TargetError = None,
    raw_error: options.RawError = None,
    group: options.Group = None,
    dim: options.Dim = None,
    generator: options.GeneratorName = None,
    companding: options.Companding = None,
    reach: options.Reach = None,
    codebook_bits: crvq.CodebookBits = None,
    extended: crvq.Extended = None,
    critical: crvq.Critical = None,
    critical_bits: crvq.CriticalBits = None,
    critical_codes: crvq.CriticalCodesName = None,
    importance: crvq.ImportanceName = None,
    allocation: crvq.AllocationName = None,
    initialisation: crvq.InitialisationName = None,
    sweeps: crvq.Sweeps = None,
    share: crvq.ShareName = None,
    finetune: crvq.FinetuneName = None,
    move_codes: crvq.MoveCodes = None,
    epochs: crvq.Epochs = None,
    embedding_bits: crvq.EmbeddingBits = None,
    damping: crvq.Damping = None,
    seed: crvq.Seed = None,
    calibration: crvq.CalibrationText = None,
    statistics: crvq.StatisticsPath = None,
    context: crvq.Context = None,
    device: crvq.Device = None,
    state_bits: trellis.StateBits = None,
    table_entries: trellis.TableEntries = None,
    refit: trellis.Refit = None,
    rotate: trellis.Rotate = None,
    feedback: trellis.Feedback = None,
    embedding_codec: trellis.EmbeddingCodecName = None,
    json: Json = False,
) -> None:
    """Compress MODEL into a container. A run that was killed goes on when started again.

    \b
    Examples:
      edgecomp compress ./bookworm --bits 2 --calibration text.txt -o bookworm.gguf
      edgecomp compress HuggingFaceTB/SmolLM2-135M --bits 4 -o smollm.gguf
      edgecomp compress ./bookworm --preset lattice --bits 4 -o bookworm.gguf
      edgecomp compress ./bookworm --codec crvq --calibration text.txt -o tiny.gguf
      edgecomp compress ./bookworm --codec uniform --bits 8 -o large.gguf

    \b
    As published for language models, UNet and MobileNetV3 (1600 points, box 0.1 and 3 classes
    where nothing else is said):
      edgecomp compress ./bookworm --preset paper -o paper.gguf
      edgecomp compress ./unet -o unet.gguf --preset paper --points 225 --raw-error none
      edgecomp compress ./mobilenet -o m.gguf --preset paper --box 0.8 --classes 4 --raw-error none
    """
    given = SettingsOptions(
        bits, tuple(points or ()), box, classes, max_error, target_error, raw_error,
        group, dim, generator, companding, reach, critical_bits,
    )  # fmt: skip
    coded = crvq.CrvqOptions(
        None, codebook_bits, extended, critical, critical_codes, importance, allocation,
        initialisation, sweeps, share, finetune, move_codes, epochs, embedding_bits, damping, seed,
    )  # fmt: skip
    own = trellis.TrellisOptions(
        state_bits, table_entries, refit, rotate, feedback, embedding_codec
    )
    settings = settings_from(codec, preset, given, coded, own)
    learned = crvq.calibration_from(calibration, statistics, context, device, damping)
    options.check_calibration(settings, learned)
    with show_progress() as progress:
        report = pipeline.compress(model, out, settings, progress, note, learned)
    if json:
        print_json(compress_object(report))
    else:
        print_compress(report)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="Container to look into.")],
    verify: Annotated[bool, typer.Option("--verify", help="Compute checksums again.")] = False,
    json: Json = False,
) -> None:
    """Show a container's tensors, codecs, bits per weight, error bounds and checksums.

    \b
    Example:
      edgecomp inspect bookworm.gguf --verify
    """
    shows = verify and file.is_file() and file.stat().st_size >= LARGE_FILE_BYTES
    with show_progress() if shows else nullcontext(lambda step: None) as progress:
        found = pipeline.inspect(file, verify, progress)
    if json:
        print_json(inspect_object(found))
    else:
        print_inspect(found)
    if found.damaged:
        fail(f"{file}: {len(found.damaged)} tensors do not match their checksum, such as "
             f"{found.damaged[0]}", "copy or make the file again")  # fmt: skip
        raise typer.Exit(1)


@app.command("eval")
def evaluate(
    file: Annotated[Path, typer.Argument(help="Container to judge.")],
    against: Annotated[str, typer.Option(help="Original: folder or hub id.")],
    text: Annotated[Path, typer.Option(help="UTF-8 text to predict.")],
    windows: Annotated[
        int | None, typer.Option(min=1, help="Windows of 256 tokens to use (default: all).")
    ] = None,
    json: Json = False,
) -> None:
    """Judge a container: perplexity, KL divergence and top-1 agreement with the original.

    \b
    Example:
      edgecomp eval bookworm.gguf --against ./bookworm --text valid.txt --windows 64
    """
    with show_progress() as progress:
        result = pipeline.evaluate(file, against, text, windows, progress)
    scores = {"original": result.original, **result.candidates}
    if json:
        print_json({name: quality.as_fields() for name, quality in scores.items()})
        return
    print_table(
        ("model", "perplexity", "KL (nats)", "top-1", "tokens"),
        (
            (name, f"{q.ppl:.3f}", f"{q.kl:.5f}", f"{100 * q.top1:.2f} %", str(q.tokens))
            for name, q in scores.items()
        ),
    )


@app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option("--output", "-o", help="Keep the trellis container here.")
    ] = None,
    json: Json = False,
) -> None:
    """Compress the model that ships with edgecomp, judge it, and let it write.

    \b
    Example:
      edgecomp demo -o bookworm.gguf
    """
    with show_progress() as progress:
        result = run_demo(out, progress, note)
    print_demo(result, json)


for command in (run, serve, bench, latency, measure):
    app.command()(command)
app.add_typer(devices_app, name="devices")


def prepare_streams() -> None:
    """Makes stdout and stderr writable when they are closed or cannot encode a letter."""
    sys.stdout = sys.stdout or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def drop_output() -> None:
    """Gives up what stdout cannot take, which Python would try to write once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Runs the command line and exits."""
    prepare_streams()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # its advice is for who trains models
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        code = app(arguments, prog_name="edgecomp", standalone_mode=False) or 0
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone; typer exits with 1 too when it sees that first
        drop_output()
        sys.exit(1)
    except Exception as error:
        if debug:
            traceback.print_exc()
        code = report_error(error)
        drop_output()
        sys.exit(code)
    if code == INTERRUPTED:
        kept = KEEPING & set(arguments[:1])
        fail("interrupted", "what is finished is kept: start again to go on" if kept else "")
    sys.exit(code)
