"""Builds llama.cpp's tools into build/llama.cpp/bin, from the source package on PyPI.

Minutes on two cores. Needs a C++ compiler and `pip install -r benchmarks/requirements.txt`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from llama_cpp import FOLDER
from rows import note

from edgecomp.cli.errors import fail

PACKAGE = "llama-cpp-python==0.3.36"  # llama.cpp as of 2026-10; its types were measured with this
TOOLS = ("llama-quantize", "llama-imatrix", "llama-perplexity")
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",  # so that a tool is one file
    "-DGGML_NATIVE=ON",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_TOOLS=ON",
)


def download(folder: Path) -> Path:
    """The source of llama.cpp, unpacked below the folder."""
    pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check"]
    only_source = ["--no-binary", ":all:", "--no-deps", "--no-build-isolation"]
    run([*pip, *only_source, "--dest", str(folder), PACKAGE])
    (archive,) = folder.glob("llama_cpp_python-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (source,) = folder.glob("llama_cpp_python-*/vendor/llama.cpp")
    return source


def configure(source: Path, build: Path) -> None:
    """Prepares the folder `build` for ninja."""
    run([*cmake(), "-S", str(source), "-B", str(build), "-G", "Ninja", *OPTIONS])


def make(build: Path) -> None:
    """Makes the tools in `build`/bin."""
    run([*cmake(), "--build", str(build), "--target", *TOOLS])


def cmake() -> list[str]:
    """The command of the cmake that pip installed."""
    return [sys.executable, "-m", "cmake"]


def run(command: list[str]) -> None:
    """Runs a command with its output on stderr; ninja is found beside Python."""
    note(" ".join(command))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    subprocess.run(command, env=os.environ | {"PATH": path}, stdout=sys.stderr, check=True)


def main() -> None:
    """Prints the folder of the tools."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    build = FOLDER.parent
    build.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=build.parent) as name:
            source = download(Path(name))
            configure(source, build)
            make(build)
    except subprocess.CalledProcessError as error:
        fail(
            f"{error.cmd[2]} ended with {error.returncode}",
            "pip install -r benchmarks/requirements.txt; a C++ compiler is needed too",
        )
        sys.exit(1)
    print(FOLDER)


if __name__ == "__main__":
    main()
