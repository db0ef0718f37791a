"""llama.cpp and its relatives as peers: the same weights in their types, by their own tools.

Every build quantises the checkpoint's float32 weights with an importance matrix that it collects
itself over the whole calibration text.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import llama_cpp_file
from llama_cpp_file import PeerError
from rows import note

from edgecomp.checkpoint import Checkpoint, context_length

NAME = "llama.cpp"
FOLDER = Path(__file__).parents[1] / "build" / "llama.cpp" / "bin"  # of build_llama_cpp.py
TYPES = (
    "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q4_0", "Q3_K_M", "IQ3_S", "IQ3_XXS", "Q2_K",
    "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S",
)  # fmt: skip
OTHER_TYPES = ("IQ4_KT", "IQ3_KT", "IQ2_KT", "IQ1_KT")  # ik_llama.cpp's trellis types
IMPORTANCE_CONTEXT = 512  # tokens in a window of llama-imatrix, its default
ERROR_WORDS = ("invalid", "error", "failed", "unknown", "missing")


@dataclass(frozen=True)
class Build:
    """A folder of tools and the types that are measured of it."""

    name: str
    folder: Path
    types: tuple[str, ...]

    @property
    def is_llama_cpp(self) -> bool:
        """Whether the build's types are those that gguf knows; others number theirs freely."""
        return self.name == NAME


@dataclass(frozen=True)
class QuantizedFile:
    """A build's file in one type; `decoded` holds the same weights in types that gguf knows."""

    type: str
    n_bytes: int
    tensor_bytes: dict[str, int]  # by the checkpoint's names
    decoded: Path


def find_builds(peers: str, others: Sequence[str]) -> list[Build]:
    """The builds that `--peers` (names, comma-separated) and `--peer` (NAME=PATH[:TYPES]) ask for.

    Raises PeerError for what cannot be understood.
    """
    builds = {}
    for name in filter(None, peers.split(",")):
        if name != NAME:
            raise PeerError(f"--peers: {name!r}, expected {NAME}", "other builds: --peer NAME=PATH")
        builds[name] = Build(NAME, FOLDER, TYPES)
    for other in others:
        name, _, rest = other.partition("=")
        path, _, types = rest.partition(":")
        if not name or not path or "/" in name:
            raise PeerError(f"--peer: {other!r}, expected NAME=PATH", "PATH holds llama-quantize")
        default = TYPES if name == NAME else OTHER_TYPES
        chosen = tuple(types.split(",")) if types else default
        builds[name] = Build(name, Path(path).expanduser().resolve(), chosen)
    return list(builds.values())


def quantize(
    build: Build, checkpoint: Checkpoint, calibration: Path, folder: Path
) -> Iterator[QuantizedFile]:
    """The checkpoint in each of the build's types; a file is gone when the next one is made.

    Intermediate files go below `folder`. Raises PeerError when a tool is missing or fails.
    """
    base = folder / "base.gguf"
    if not base.exists():
        llama_cpp_file.write(base, checkpoint)
    own = folder / f"peer {build.name}"
    own.mkdir()
    # Short relative names: the tools write them into the files that are counted.
    shutil.copyfile(calibration, own / "calibration.txt")
    context = min(IMPORTANCE_CONTEXT, context_length(checkpoint.config) or IMPORTANCE_CONTEXT)
    note(f"{build.name}: importance matrix")
    collect = ["-m", "../base.gguf", "-f", "calibration.txt", "-c", str(context)]
    run_tool(build, "llama-imatrix", [*collect, "-o", "importance.gguf"], own)
    for kind in build.types:
        note(f"{build.name}: {kind}")
        given = ["--imatrix", "importance.gguf", "../base.gguf", "quantized.gguf", kind]
        run_tool(build, "llama-quantize", given, own)
        path = own / "quantized.gguf"
        decoded = path if build.is_llama_cpp else decode(build, own)
        sizes = llama_cpp_file.tensor_bytes(path, checkpoint)
        yield QuantizedFile(kind, path.stat().st_size, sizes, decoded)
        path.unlink()


def decode(build: Build, folder: Path) -> Path:
    """The folder's quantized.gguf in float32, decoded by the build itself."""
    given = ["--allow-requantize", "quantized.gguf", "decoded.gguf", "F32"]
    run_tool(build, "llama-quantize", given, folder)
    return folder / "decoded.gguf"


def run_tool(build: Build, tool: str, arguments: Sequence[str], folder: Path) -> None:
    """Runs a tool of the build in a folder; PeerError with what it said when it fails."""
    path = build.folder / tool
    try:
        done = subprocess.run(
            [path, *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise PeerError(
            f"{build.name}: {path} cannot be run: {error.strerror}",
            "python benchmarks/build_llama_cpp.py makes llama.cpp's tools; --peer NAME=PATH names "
            "another folder",
        ) from error
    if done.returncode != 0:
        said = [line.strip() for line in done.stdout.splitlines() if line.strip()] or ["nothing"]
        telling = [line for line in said if any(word in line.lower() for word in ERROR_WORDS)]
        raise PeerError(
            f"{build.name}: {tool} {arguments[-1]} failed: {(telling or said)[-1]}",
            "--peer NAME=PATH:TYPE,TYPE names the types that the build has",
        )
