"""Builds llama.cpp's tools into build/llama.cpp/bin, from the source package on PyPI.

Minutes on two cores. Needs a C++ compiler and `pip install -r benchmarks/requirements.txt`.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from llama_cpp import FOLDER
from rows import note

from devices.host import read_fields
from edgecomp.cli.errors import fail

PACKAGE = "llama-cpp-python==0.3.36"  # llama.cpp as of 2026-10; its types were measured with this
TOOLS = ("llama-quantize", "llama-imatrix", "llama-perplexity", "llama-bench")
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",  # so that a tool is one file
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_TOOLS=ON",
)
# llama.cpp's options for x86 and the flags of /proc/cpuinfo that each needs; AMX is apart.
X86_OPTIONS = {
    "SSE42": ("sse4_2",),
    "AVX": ("avx",),
    "AVX2": ("avx2",),
    "FMA": ("fma",),
    "F16C": ("f16c",),
    "BMI2": ("bmi2",),
    "AVX_VNNI": ("avx_vnni",),
    "AVX512": ("avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"),
    "AVX512_VBMI": ("avx512vbmi",),
    "AVX512_VNNI": ("avx512_vnni",),
    "AVX512_BF16": ("avx512_bf16",),
}
AMX_OPTIONS = ("AMX_TILE", "AMX_INT8", "AMX_BF16")


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


def processor_options(machine: str, flags: frozenset[str]) -> list[str]:
    """What the build may use of a processor: on x86 every instruction set that it has, but AMX.

    A build for the native CPU would take AMX as well, whose product crashes on virtual machines
    that announce it; on other machines the native CPU is right.
    """
    if machine not in ("x86_64", "AMD64"):
        return ["-DGGML_NATIVE=ON"]
    chosen = {name: flags.issuperset(needed) for name, needed in X86_OPTIONS.items()}
    chosen |= dict.fromkeys(AMX_OPTIONS, False)
    settings = [f"-DGGML_{name}={'ON' if on else 'OFF'}" for name, on in chosen.items()]
    return ["-DGGML_NATIVE=OFF", *settings]


def configure(source: Path, build: Path) -> None:
    """Prepares the folder `build` for ninja."""
    flags = frozenset(read_fields(Path("/proc/cpuinfo")).get("flags", "").split())
    options = [*OPTIONS, *processor_options(platform.machine(), flags)]
    run([*cmake(), "-S", str(source), "-B", str(build), "-G", "Ninja", *options])


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
