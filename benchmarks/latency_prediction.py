"""Predicted beside measured latency on this machine: models and threads that no profile has seen.

The machine is profiled over ssh to itself, as a board would be (`edgecomp measure --on ssh:...`,
with a server of the benchmark's own on the loopback). Then models of random weights are measured,
and predicted: generation in ms for a token, prefill in ms for the prompt; medians over rounds, in
each of which the same static edgecomp-run measures every case once. The profile knows kernels,
bandwidth and threads, and none of the models. Example:
`python benchmarks/latency_prediction.py --json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from memory_bandwidth import ToolError, output_of
from random_llama import SHAPES, Shape, write_random_container
from rows import Row, note, print_rows
from ssh_server import ssh_server, write_script

from devices.latency import Prediction, predict_generate, predict_prefill
from devices.profile import Profile
from devices.profile_file import read_profile
from devices.work import LanguageModel
from edgecomp.cli.errors import fail
from edgecomp.encode import CrvqSettings, LatticeSettings, Settings, TrellisSettings
from edgecomp.encode import UniformSettings as Integers
from edgecomp.latency.language_model import language_model
from edgecomp.latency.stored import container_model
from edgecomp.measuring.architecture import targets_for
from edgecomp.measuring.program import find_program

LARGE = SHAPES["1.1B"]
MIDDLE = SHAPES["0.5B"]
SMALL = Shape(n_layers=12, d_model=768, d_ff=2048, n_heads=12, n_kv_heads=4, n_vocab=16000)
TINY = Shape(n_layers=6, d_model=320, d_ff=896, n_heads=5, n_kv_heads=5, n_vocab=4000)
MODELS: dict[str, tuple[Shape, Settings]] = {
    "1.1B, trellis 2 bits, L 8": (LARGE, TrellisSettings(2, 8)),
    "0.5B, uniform 4 bits": (MIDDLE, Integers(4)),
    "0.5B, trellis 3 bits, L 12": (MIDDLE, TrellisSettings(3, 12)),
    "0.5B, trellis 1 bit, L 12": (MIDDLE, TrellisSettings(1, 12)),
    "0.1B, uniform 8 bits": (SMALL, Integers(8)),
    "0.1B, trellis 4 bits, L 12": (SMALL, TrellisSettings(4, 12)),
    "0.1B, lattice 3 bits": (SMALL, LatticeSettings(3)),
    "0.1B, crvq": (SMALL, CrvqSettings()),
    "10M, trellis 2 bits, L 12": (TINY, TrellisSettings(2, 12)),
}
QUICK_MODELS = ("0.1B, trellis 4 bits, L 12", "10M, trellis 2 bits, L 12")
HINT = "edgecomp measure --help shows what it needs"


@dataclass(frozen=True)
class Work:
    """What is measured of a model."""

    rounds: int = 5
    prefill: int = 200
    generate: int = 24
    seconds: int = 45  # of the profile


@dataclass(frozen=True)
class Sample:
    """What a round measured of a model, in ms: the prompt, and a token behind it."""

    prefill: float
    generate: float


@dataclass(frozen=True)
class Case:
    """A stage of a model, predicted and measured, in ms."""

    name: str
    threads: int
    predicted: Prediction
    measured_ms: float

    @property
    def error(self) -> float:
        """Relative, of the prediction."""
        return self.predicted.ns / 1e6 / self.measured_ms - 1

    @property
    def covered(self) -> bool:
        """Whether the measurement lies in the interval."""
        return self.predicted.low <= 1e6 * self.measured_ms <= self.predicted.high


def measured_profile(folder: Path, work: Work) -> Profile:
    """The profile of this machine, over ssh. ToolError."""
    path, shims = folder / "this-machine.toml", folder / "bin"
    shims.mkdir()
    write_script(folder / "board", 'cd; eval "$SSH_ORIGINAL_COMMAND"\n')
    with ssh_server(folder, shims, "localhost"):
        note("profile this machine")
        environment = {**os.environ, "PATH": f"{shims}:{os.environ['PATH']}"}
        command = [
            sys.executable, "-c", "from edgecomp.cli import main; main()", "measure",
            "--on", "ssh:localhost", "--seconds", str(work.seconds), "-o", str(path),
        ]  # fmt: skip
        done = subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        raise ToolError(f"edgecomp measure ended with {done.returncode}", HINT)
    return read_profile(path)


def run_once(program: str, path: Path, threads: int, work: Work) -> Sample:
    """ms for the prompt, and for a token behind it, as edgecomp-run measures them. ToolError."""
    words = {"threads": threads, "prefill": work.prefill, "generate": work.generate, "rounds": 2}
    options = [word for name, n in words.items() for word in (f"--{name}", str(n))]
    row = json.loads(output_of([program, "bench", str(path), *options, "--json"], HINT))
    prefill, generate = (
        float(row[f"{stage}_tokens_per_second"]) for stage in ("prefill", "generate")
    )
    return Sample(1e3 * work.prefill / prefill, 1e3 / generate)


def measured(
    names: Sequence[str], threads: Sequence[int], work: Work, folder: Path
) -> dict[tuple[str, int], list[Sample]]:
    """Samples by model and threads: all of them in every round, so that what else the machine does
    meets each. ToolError."""
    targets = targets_for("this machine", platform.system(), platform.machine())
    program = str(find_program(targets[0], note))
    found: dict[tuple[str, int], list[Sample]] = {}
    for number in range(work.rounds):
        note(f"measure: round {number + 1} of {work.rounds}")
        for name in names:
            for count in threads:
                sample = run_once(program, model_path(folder, name), count, work)
                found.setdefault((name, count), []).append(sample)
    return found


def predicted(
    model: LanguageModel, profile: Profile, threads: int, work: Work
) -> tuple[Prediction, Prediction]:
    """The same, predicted; generation in the middle of the tokens that are measured."""
    past = work.prefill + work.generate // 2
    return (
        predict_prefill(model, profile, threads, work.prefill),
        predict_generate(model, profile, threads, past),
    )


def cases(
    samples: dict[tuple[str, int], list[Sample]], profile: Profile, work: Work, folder: Path
) -> Iterator[Case]:
    """Every model with every number of threads: prefill, and generation."""
    for (name, threads), own in samples.items():
        model = language_model(container_model(model_path(folder, name)))
        prefill, generate = predicted(model, profile, threads, work)
        ms = statistics.median(sample.prefill for sample in own)
        yield Case(f"{name}: prefill {work.prefill}", threads, prefill, ms)
        ms = statistics.median(sample.generate for sample in own)
        yield Case(f"{name}: generate", threads, generate, ms)


def model_path(folder: Path, name: str) -> Path:
    """The model's container; written unless it is there."""
    path = folder / f"latency {name}.gguf"
    if not path.exists():
        note(f"write {path.name}")
        shape, settings = MODELS[name]
        write_random_container(path, name, shape, settings)
    return path


def case_row(case: Case) -> Row:
    """A case as benchmarks print it."""
    return {
        "case": case.name,
        "threads": case.threads,
        "predicted_ms": case.predicted.ns / 1e6,
        "low_ms": case.predicted.low / 1e6,
        "high_ms": case.predicted.high / 1e6,
        "measured_ms": case.measured_ms,
        "error": case.error,
    }


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="two small models, one round")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="not measured again")
    parser.add_argument("--models", type=Path, metavar="DIR", help="keeps the models there")
    return parser.parse_args()


def main() -> None:
    """Prints the rows."""
    arguments = parse_arguments()
    work = Work(rounds=1, prefill=64, generate=8, seconds=5) if arguments.quick else Work()
    names = list(QUICK_MODELS if arguments.quick else MODELS)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = arguments.models or Path(name)
            folder.mkdir(parents=True, exist_ok=True)
            given = arguments.profile
            for model in names:
                model_path(folder, model)  # before anything is measured
            profile = read_profile(given) if given else measured_profile(Path(name), work)
            samples = measured(names, arguments.threads, work, folder)
            found = list(cases(samples, profile, work, folder))
    except ToolError as error:
        fail(str(error), error.hint)
        sys.exit(1)
    print_rows([case_row(case) for case in found], arguments.json)
    errors = [abs(case.error) for case in found]
    note(
        f"{len(found)} cases: median error {statistics.median(errors):.1%}, worst "
        f"{max(errors):.1%}, {sum(case.covered for case in found)} in their intervals"
    )


if __name__ == "__main__":
    main()
