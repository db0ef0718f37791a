"""Tokens a second beside llama.cpp: Llama models of real shapes and random weights on this machine.

Every system in every round, one after another, so that what else the machine does meets all of
them; figures are medians over rounds, ratios medians of the rounds' ratios. Prefill is of 256
tokens, generation of 32 tokens behind 16; loading does not count. `share` is what generation reads
a second over what memory gives, measured in the same round. Needs llama.cpp's tools
(`python benchmarks/build_llama_cpp.py`), `edgecomp-run` and a C compiler. Example:
`python benchmarks/decode_speed.py --models build/models --json`.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import llama_cpp
from memory_bandwidth import ToolError, compile_reader, output_of, read_bandwidth
from random_llama import EMBEDDING, SHAPES, write_random_container
from random_llama_cpp import MIXES, file_name, write_random_gguf
from rows import Row, note, print_rows
from speed_aims import OURS, PEER, Sample, aim_rows, our_format

from edgecomp.cli.errors import fail
from edgecomp.encode import SettingsError, TrellisSettings
from exporters.gguf import open_container

BITS = (4, 3, 2, 1)
BUILD = Path(__file__).parents[1] / "build"
CONTEXT = 16  # tokens before those that are generated


@dataclass(frozen=True)
class Work:
    """What a round measures of a system: tokens."""

    rounds: int = 5
    prefill: int = 256
    generate: int = 32


QUICK = Work(rounds=1, prefill=32, generate=4)


@dataclass(frozen=True)
class Competitor:
    """A model in a format. `token_bytes` are read for a token: all weights but the embedding."""

    model: str
    system: str
    format: str
    path: Path
    token_bytes: int
    settings: str  # of ours: the trellis's table, and the rate and codec of head and embedding


@dataclass(frozen=True)
class Programs:
    """What runs the models, and what measures memory."""

    ours: str
    peer: str
    reader: Path


def peer_competitor(model: str, kind: str, folder: Path) -> Competitor:
    """A model in a type of llama.cpp; its file is written unless the folder has it."""
    path = folder / f"random {model} {kind}.gguf"
    if not path.exists():
        note(f"write {path.name}")
        write_random_gguf(path, model, SHAPES[model], MIXES[kind])
    unread = file_name(EMBEDDING)
    tensors = [entry for entry in gguf.GGUFReader(path).tensors if entry.name != unread]
    return Competitor(model, PEER, kind, path, sum(int(entry.n_bytes) for entry in tensors), "")


def our_competitor(model: str, settings: TrellisSettings, folder: Path) -> Competitor:
    """A model in a format of ours; its file is written unless the folder has it."""
    name = our_format(settings.bits, settings.state_bits)
    details = f"table {settings.table_entries or 'all'}, head {settings.chosen_outer_bits:g}"
    details += f" {settings.embedding_codec}"
    path = folder / f"random {model} {name}, {details}.gguf"
    if not path.exists():
        note(f"write {path.name}")
        write_random_container(path, model, SHAPES[model], settings)
    with open_container(path) as container:
        n_bytes = sum(entry.n_bytes for entry in container.tensors if entry.name != EMBEDDING)
    return Competitor(model, OURS, name, path, n_bytes, details)


def competitors(arguments: argparse.Namespace, folder: Path) -> list[Competitor]:
    """All that race, by models; SettingsError for a trellis that there is not."""
    found = []
    for model in arguments.sizes:
        if PEER in arguments.only:
            found += [peer_competitor(model, kind, folder) for kind in MIXES]
        if OURS in arguments.only:
            found += [
                our_competitor(
                    model,
                    TrellisSettings(
                        bits,
                        state_bits,
                        outer_bits=arguments.head_bits,
                        embedding_codec=arguments.head_codec,
                        table_entries=arguments.table_entries,
                    ),
                    folder,
                )
                for state_bits in arguments.state_bits
                for bits in BITS
            ]
    return found


def peer_rates(program: str, path: Path, threads: int, work: Work) -> tuple[float, float]:
    """Tokens a second of prefill and generation by llama-bench, which warms up first."""
    hint = "python benchmarks/build_llama_cpp.py makes llama.cpp's tools; --peer names a folder"
    command = [program, "-m", str(path), "-t", str(threads), "-r", "1", "-o", "json"]
    prefill = ["-p", str(work.prefill), "-n", "0"]
    generate = ["-p", "0", "-n", str(work.generate), "-d", str(CONTEXT)]
    rates = [json.loads(output_of(command + how, hint))[0] for how in (prefill, generate)]
    return float(rates[0]["avg_ts"]), float(rates[1]["avg_ts"])


def our_rates(program: str, path: Path, threads: int, work: Work) -> tuple[float, float]:
    """Tokens a second of prefill and generation by `edgecomp-run bench`."""
    hint = "--runner names the program edgecomp-run, of this version"
    command = [program, "bench", str(path), "--threads", str(threads), "--rounds", "1", "--json"]
    prefill = ["--prefill", str(work.prefill), "--generate", "1"]
    generate = ["--prefill", str(CONTEXT), "--generate", str(work.generate)]
    first, second = (json.loads(output_of(command + how, hint)) for how in (prefill, generate))
    return float(first["prefill_tokens_per_second"]), float(second["generate_tokens_per_second"])


def race(
    entries: Sequence[Competitor], threads: Sequence[int], work: Work, programs: Programs
) -> tuple[list[Sample], dict[int, list[float]]]:
    """Samples of every competitor in every round, and the bandwidths of memory by threads.

    Raises ToolError when a program fails.
    """
    how: dict[str, tuple[Callable[[str, Path, int, Work], tuple[float, float]], str]]
    how = {OURS: (our_rates, programs.ours), PEER: (peer_rates, programs.peer)}
    samples = []
    bandwidths: dict[int, list[float]] = {count: [] for count in threads}
    for number in range(work.rounds):
        for count in threads:
            memory = read_bandwidth(programs.reader, count)
            bandwidths[count].append(memory)
            for entry in entries:
                measure, program = how[entry.system]
                prefill, generate = measure(program, entry.path, count, work)
                note(
                    f"round {number + 1}, {count} threads, {entry.model} {entry.system} "
                    f"{entry.format}: prefill {prefill:.1f}, generation {generate:.1f} tokens/s"
                )
                share = generate * entry.token_bytes / memory
                named = (number, entry.model, count, entry.system, entry.format)
                samples.append(Sample(*named, prefill, generate, share))
    return samples, bandwidths


def speed_rows(
    entries: Sequence[Competitor], samples: Sequence[Sample], bandwidths: dict[int, list[float]]
) -> list[Row]:
    """Medians of every competitor at every number of threads, then those of memory."""
    rows: list[Row] = []
    for threads, entry in ((threads, entry) for threads in bandwidths for entry in entries):
        named = (entry.model, threads, entry.system, entry.format)
        own = [s for s in samples if (s.model, s.threads, s.system, s.format) == named]
        rows.append(
            {
                "model": entry.model,
                "system": entry.system,
                "format": entry.format,
                "settings": entry.settings,
                "threads": threads,
                "file_bytes": entry.path.stat().st_size,
                "prefill_tokens_per_second": statistics.median(s.prefill for s in own),
                "generate_tokens_per_second": statistics.median(s.generate for s in own),
                "bytes_per_second": statistics.median(s.generate for s in own) * entry.token_bytes,
                "share": statistics.median(s.share for s in own),
            }
        )
    for threads, found in bandwidths.items():
        row = dict.fromkeys(rows[0]) | {"model": "none", "system": "memory", "format": "read"}
        rows.append(row | {"threads": threads, "bytes_per_second": statistics.median(found)})
    return rows


def runner_program() -> str:
    """Where `make` leaves edgecomp-run for this machine; else the name, to be found on the path."""
    built = sorted(BUILD.glob(f"{platform.machine()}-*/edgecomp-run"))
    return str(built[0]) if built else "edgecomp-run"


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    few = f"{QUICK.rounds} round, {QUICK.prefill} and {QUICK.generate} tokens"
    parser.add_argument("--quick", action="store_true", help=few)
    parser.add_argument("--rounds", type=int, help=f"{Work().rounds} by default")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--sizes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--only", nargs="+", choices=(OURS, PEER), default=[OURS, PEER])
    parser.add_argument("--models", type=Path, metavar="DIR", help="keeps the models there")
    parser.add_argument("--peer", type=Path, metavar="DIR", help="llama.cpp's tools")
    parser.add_argument("--runner", default=runner_program(), help="the program edgecomp-run")
    parser.add_argument("--state-bits", type=int, nargs="+", choices=(8, 10, 12), default=[12])
    parser.add_argument("--table-entries", type=int, help="16, 64 or 256; all by default")
    parser.add_argument("--head-bits", type=float, help="of head and embedding, one more than bits")
    codecs = ("trellis", "uniform")
    parser.add_argument("--head-codec", choices=codecs, default="trellis", help="of both")
    arguments = parser.parse_args()
    if min(arguments.threads) < 1 or (arguments.rounds is not None and arguments.rounds < 1):
        parser.error("--threads and --rounds: expected numbers from 1 on")
    return arguments


def measure(arguments: argparse.Namespace, folder: Path, scratch: Path) -> None:
    """Prints the rows of a race whose models are in `folder`."""
    given = QUICK if arguments.quick else Work()
    work = Work(arguments.rounds or given.rounds, given.prefill, given.generate)
    tools = arguments.peer or llama_cpp.FOLDER
    programs = Programs(arguments.runner, str(tools / "llama-bench"), compile_reader(scratch))
    entries = competitors(arguments, folder)
    samples, bandwidths = race(entries, arguments.threads, work, programs)
    rows, aims = speed_rows(entries, samples, bandwidths), aim_rows(samples)
    if arguments.json:
        print_rows(rows + aims, True)
        return
    print_rows(rows, False)
    if aims:
        print_rows(aims, False)


def main() -> None:
    """Prints the rows."""
    arguments = parse_arguments()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = arguments.models or Path(name)
            folder.mkdir(parents=True, exist_ok=True)
            measure(arguments, folder, Path(name))
    except ToolError as error:
        fail(str(error), error.hint)
        sys.exit(1)
    except SettingsError as error:
        fail(str(error), "python benchmarks/decode_speed.py --help shows the options")
        sys.exit(2)


if __name__ == "__main__":
    main()
