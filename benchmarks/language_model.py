"""What compression costs a language model: perplexity, KL divergence and top-1 agreement by size.

The same windows of text for every system; `bpw` counts the whole file, `body_bpw` the matrices
without embedding and head. The baseline is round-to-nearest integers with group 128, in a file with
the same metadata. Trellises and CRVQ need a text to calibrate with, other than the one that is
judged; so do the peers, other systems' types of the same weights (docs/benchmarks.md). Example:
`python benchmarks/language_model.py --model edgecomp/data/bookworm --calibration
edgecomp/data/bookworm_calib.txt --text edgecomp/data/bookworm_valid.txt --json`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import integer_file
import llama_cpp
import llama_cpp_file
import numpy as np
from container_bytes import bytes_of
from numpy.typing import NDArray
from rows import Row, note, print_rows

import edgecomp
from edgecomp.calibration import CalibrateSettings
from edgecomp.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from edgecomp.cli.errors import fail, report_error
from edgecomp.cli.options import UsageError
from edgecomp.compression import Calibration
from edgecomp.encode import CrvqSettings, LatticeSettings, PaperSettings, Settings, TrellisSettings
from edgecomp.evaluation import (
    LanguageModel,
    Quality,
    build_model,
    evaluate_models,
    load_compressed,
    load_original,
    read_tokens,
)
from edgecomp.progress import show_progress
from exporters.gguf import open_container

BITS = (2, 3, 4, 5, 6)
CRVQ = {"1+3, critical 2 %": CrvqSettings(), "1+3, critical 5 %": CrvqSettings(critical=0.05)}
CALIBRATION_WINDOWS, CALIBRATION_CONTEXT = 1024, 256
QUICK_WINDOWS = 64
# Bits of linears, of embedding and head: what fits below the sizes of llama.cpp's types.
TRELLIS_RATES = ((1, 3), (1.5, 3), (2, 3), (2, 4), (2.5, 3.5), (2.5, 4), (3, 3.5), (3, 4), (3.5, 4),
                 (3.5, 5), (4, 5), (4, 6), (5, 5), (5, 6), (5, 7), (6, 7), (8, 8))  # fmt: skip
TRELLIS = {
    f"trellis, {bits:g} bits, embedding {outer:g}": TrellisSettings(bits=bits, outer_bits=outer)
    for bits, outer in TRELLIS_RATES
}


@dataclass(frozen=True)
class System:
    """A compressed model ready to be judged."""

    system: str
    codec: str
    settings: str
    file_bytes: int
    body_bytes: int
    model: LanguageModel

    @property
    def name(self) -> str:
        """Its name among all systems."""
        return f"{self.system} {self.settings}"


@dataclass(frozen=True)
class Selection:
    """What `--only` names: systems and codecs; all when it is empty."""

    names: frozenset[str]

    def has(self, *names: str) -> bool:
        """Whether a case of that system or codec is wanted."""
        return not self.names or not self.names.isdisjoint(names)


def edgecomp_systems(
    model: str, calibration: Path | None, folder: Path, only: Selection
) -> list[System]:
    """The paper preset as published, lattices of 2 to 6 bits, trellises of 1 to 8, CRVQ at 1."""
    cases: dict[str, Settings] = {"paper, U 1600, box 0.1": PaperSettings()}
    cases |= {f"lattice, {bits} bits": LatticeSettings(bits=bits) for bits in BITS}
    statistics = folder / "statistics"
    if calibration is not None:
        cases |= TRELLIS
        cases |= CRVQ
    systems = []
    for name, settings in cases.items():
        if not only.has("edgecomp", settings.codec):
            continue
        note(f"compress: {name}")
        path = folder / f"{name}.gguf"
        text = None
        if calibration is not None and isinstance(settings, TrellisSettings | CrvqSettings):
            if not statistics.is_dir():
                how = CalibrateSettings(CALIBRATION_WINDOWS, CALIBRATION_CONTEXT)
                edgecomp.calibrate(model, calibration, statistics, how)
            text = Calibration(calibration, statistics)
        report = edgecomp.compress(model, path, settings, calibration=text)
        body, _ = bytes_of(path, in_body)
        compressed = load_compressed(path)
        systems.append(
            System("edgecomp", settings.codec, name, report.file_bytes, body, compressed)
        )
    return systems


def integer_systems(checkpoint: Checkpoint, folder: Path) -> list[System]:
    """The baseline at 2 to 6 bits, for the tensors that a container encodes."""
    like = folder / "like.gguf"
    edgecomp.compress(str(checkpoint.folder), like, LatticeSettings(bits=4))
    weights = {entry.name: read_all(checkpoint, entry.name) for entry in checkpoint.tensors}
    shapes = {name: array.shape for name, array in weights.items()}
    systems = []
    for bits in BITS:
        note(f"integers: {bits} bits")
        path = folder / f"integers-{bits}.gguf"
        with open_container(like) as container:
            n_bytes = integer_file.write(path, container, weights, bits)
        body = sum(count for name, count in n_bytes.items() if in_body(name))
        model = build_model(path.name, checkpoint.config, integer_file.read(path, shapes, bits))
        name = f"round to nearest, {bits} bits, group 128"
        systems.append(System("integers", "uniform", name, path.stat().st_size, body, model))
    return systems


def peer_systems(
    builds: Sequence[llama_cpp.Build], checkpoint: Checkpoint, calibration: Path, folder: Path
) -> list[System]:
    """Every type of every build; PeerError when one of its tools is missing or fails."""
    systems = []
    for build in builds:
        for file in llama_cpp.quantize(build, checkpoint, calibration, folder):
            body = sum(count for name, count in file.tensor_bytes.items() if in_body(name))
            weights = llama_cpp_file.read(file.decoded, checkpoint)
            model = build_model(f"{build.name} {file.type}", checkpoint.config, weights)
            systems.append(System(build.name, build.name, file.type, file.n_bytes, body, model))
    return systems


def read_all(checkpoint: Checkpoint, name: str) -> NDArray[np.float32]:
    """A tensor of the checkpoint, float32."""
    source = checkpoint.source(name)
    n_weights = int(np.prod(source.shape))
    return source.read(0, n_weights).reshape(source.shape)


def in_body(name: str) -> bool:
    """False for the embedding, the head and what is not a matrix of a linear layer."""
    return not any(part in name for part in ("embed", "lm_head", "norm", "bias"))


def quality_row(system: System, quality: Quality, n_weights: int, n_body: int) -> Row:
    """One row."""
    return {
        "system": system.system,
        "codec": system.codec,
        "settings": system.settings,
        "file_bytes": system.file_bytes,
        "bpw": 8 * system.file_bytes / n_weights,
        "body_bpw": 8 * system.body_bytes / n_body,
        **quality.as_fields(),
    }


def parse_arguments() -> argparse.Namespace:
    """The command line; `builds` and `selection` are what it says of peers and `--only`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="Hugging Face folder or hub id")
    parser.add_argument("--text", required=True, type=Path, help="UTF-8 text to predict")
    parser.add_argument("--calibration", type=Path, help="UTF-8 text, for trellis, crvq and peers")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help=f"the first {QUICK_WINDOWS} windows")
    parser.add_argument("--windows", type=int, help="that many windows; the whole text by default")
    parser.add_argument("--peers", default="", help=f"{llama_cpp.NAME}: adds its types")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=PATH[:TYPE,...]",
        help="another build's folder of llama-quantize and llama-imatrix; adds its types, by "
        f"default {','.join(llama_cpp.OTHER_TYPES)}",
    )
    parser.add_argument("--only", default="", help="systems or codecs, comma-separated")
    arguments = parser.parse_args()
    arguments.selection = Selection(frozenset(filter(None, arguments.only.split(","))))
    try:
        builds = llama_cpp.find_builds(arguments.peers, arguments.peer)
    except llama_cpp_file.PeerError as error:
        parser.error(f"{error} ({error.hint})")
    if builds and arguments.calibration is None:
        parser.error("peers need a text for their importance matrix: --calibration")
    arguments.builds = [build for build in builds if arguments.selection.has(build.name)]
    return arguments


def compressed_systems(
    arguments: argparse.Namespace, checkpoint: Checkpoint, folder: Path
) -> list[System]:
    """Every system that the command line asks for, at least one.

    Raises PeerError when a peer cannot be measured, UsageError when there is nothing to measure.
    """
    only: Selection = arguments.selection
    # Peers first: what they lack shows at once.
    peers = peer_systems(arguments.builds, checkpoint, arguments.calibration, folder)
    systems = edgecomp_systems(arguments.model, arguments.calibration, folder, only)
    if only.has("integers", "uniform"):
        systems += integer_systems(checkpoint, folder)
    if not systems + peers:
        known = "edgecomp or its codecs, integers, and what --peers and --peer name"
        raise UsageError(f"--only {arguments.only} leaves no system", f"expected {known}")
    return systems + peers


def main() -> None:
    """Prints the rows."""
    arguments = parse_arguments()
    windows = arguments.windows or (QUICK_WINDOWS if arguments.quick else None)
    try:
        print_rows(measure(arguments, windows), arguments.json)
    except llama_cpp_file.PeerError as error:
        fail(str(error), error.hint)
        sys.exit(1)
    except (CheckpointError, UsageError) as error:
        sys.exit(report_error(error))


def measure(arguments: argparse.Namespace, windows: int | None) -> list[Row]:
    """A row of the original and of every system, on the same windows of the text."""
    checkpoint = open_checkpoint(arguments.model)
    if checkpoint.tokenizer is None:
        raise CheckpointError(f"{arguments.model} has no tokenizer.json", "put the model's there")
    tokens = read_tokens(checkpoint.tokenizer, arguments.text.read_text(encoding="utf-8"))
    original = load_original(checkpoint)
    with tempfile.TemporaryDirectory() as name:
        systems = compressed_systems(arguments, checkpoint, Path(name))
    candidates = {system.name: system.model for system in systems}
    with show_progress() as progress:
        scores = evaluate_models(candidates, original, tokens, windows, progress)
    body = [entry for entry in checkpoint.tensors if in_body(entry.name)]
    n_body = sum(entry.n_weights for entry in body)
    files = [*checkpoint.shards, checkpoint.tokenizer]
    file_bytes = sum(file.stat().st_size for file in files)
    body_bytes = sum(entry.n_bytes for entry in body)
    first = System("original", "none", "as published", file_bytes, body_bytes, original)
    rows = [quality_row(first, scores.original, checkpoint.n_weights, n_body)]
    for system in systems:
        quality = scores.candidates[system.name]
        rows.append(quality_row(system, quality, checkpoint.n_weights, n_body))
    return rows


if __name__ == "__main__":
    main()
