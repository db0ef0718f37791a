"""Builds the two C extensions: `runtime_ops._native` (decoding) and `edgecomp.encode._encoder`.

pyproject.toml names `BuildExtensions` as setuptools' build_ext. The declarations that cffi needs
are taken from the C headers themselves, so there is one list of functions.
"""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ROOT / "runtime_ops" / "csrc"
ENCODER = ROOT / "edgecomp" / "encode" / "csrc"
# No contraction to fused multiply-add: results are specified operation by operation.
COMPILE_ARGS = ["-std=c99", "-O3", "-ffp-contract=off", "-fvisibility=hidden"]

# The last one includes those before it.
HEADERS = {
    "runtime_ops._native": (RUNTIME / "edgecomp.h", RUNTIME / "runner.h"),
    "edgecomp.encode._encoder": (ENCODER / "encoder.h",),
}


def runtime_sources() -> list[Path]:
    """C files of the runtime, without the programs (`*_main.c`)."""
    return sorted(path for path in RUNTIME.glob("*/*.c") if not path.name.endswith("_main.c"))


def declarations(header: str) -> str:
    """A C header as cffi's parser takes it: no comments, no preprocessor but integer constants."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    text = re.sub(r"#ifdef __cplusplus\n.*?#endif\n", "", text, flags=re.S)
    text = re.sub(r"^#(?!define EC_\w+ \d+ *$).*$", "", text, flags=re.M)
    return text.replace("EC_API ", "")


def ffi_builder(module: str) -> FFI:
    """cffi's builder of one of the two modules."""
    headers = HEADERS[module]
    builder = FFI()
    for header in headers:
        builder.cdef(declarations(header.read_text()))
    builder.set_source(module, f'#include "{headers[-1].name}"')
    return builder


class BuildExtensions(build_ext):
    """setuptools' build_ext with the sources of both extensions filled in."""

    def build_extensions(self) -> None:
        """Generates cffi's C file of each extension, then compiles it with ours."""
        for extension in self.extensions:
            generated = Path(self.build_temp) / f"{extension.name}.c"
            generated.parent.mkdir(parents=True, exist_ok=True)
            ffi_builder(extension.name).emit_c_code(str(generated))
            own = runtime_sources() if extension.name == "runtime_ops._native" else []
            own = own or sorted(ENCODER.glob("*.c"))
            extension.sources = [str(generated), *(str(p.relative_to(ROOT)) for p in own)]
            extension.include_dirs = [str(HEADERS[extension.name][0].parent)]
            extension.extra_compile_args = COMPILE_ARGS
            extension.libraries = ["m", "pthread"]
        super().build_extensions()
