"""What the C side takes of the stack, by gcc's own count, is what the documentation says."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.runtime_ops.harness import CSRC, IN_CI, TARGETS, is_clang, library

DOCS = Path(__file__).parents[2] / "docs"
BUILDS = ("native", *(pytest.param(name, marks=pytest.mark.slow) for name in ("aarch64", "armv7")))
LARGEST_FRAME = 42 << 10  # of one function: multiply_block of direct.c, some 40.3 KiB
NODE = re.compile(r'node: \{ title: "([^"]+)" label: "[^"]*?\\n(\d+) bytes \(([a-z,]+)\)')
EDGE = re.compile(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"')
KERNEL = re.compile(r"_(scalar|avx2|avx512|neon|dotprod|i8mm)\.c$")
ANY_KERNEL = "__indirect_call"  # gcc's name for a call through a pointer: only kernels get one
DOTS = "__indirect_call of a kernel"  # kernels of trellises are given one that multiplies panels
FOLDERS = ("container", "codecs", "products", "kernels")  # what takes no memory but the stack's
OPENING = ("ec_container_open", "ec_container_find", "ec_container_tensor")
WORKING = (
    *("ec_decode", "ec_decode_rows", "ec_input_prepare", "ec_gemv", "ec_gemm"),
    *("ec_input_quantise", "ec_matmul_i8"),
)


@dataclass
class CallGraph:
    """Bytes of stack of every function, and whom it calls; inlined ones are in their callers'."""

    frames: dict[str, int] = field(default_factory=dict)
    calls: dict[str, set[str]] = field(default_factory=dict)
    kinds: set[str] = field(default_factory=set)

    def read(self, text: str, is_kernel: bool) -> None:
        """Adds a file's functions, from what -fcallgraph-info=su writes."""
        for name, n_bytes, kind in NODE.findall(text):
            self.frames[name] = int(n_bytes)
            self.kinds.add(kind)
            if is_kernel:
                self.calls.setdefault(ANY_KERNEL, set()).add(name)
            if is_kernel and "dots_i8" in name:
                self.calls.setdefault(DOTS, set()).add(name)
        for caller, callee in EDGE.findall(text):
            called = DOTS if is_kernel and callee == ANY_KERNEL else callee
            self.calls.setdefault(caller, set()).add(called)

    def depth(self, name: str) -> int:
        """Bytes of stack that a call takes, those of the C library left out."""
        inner = max((self.depth(callee) for callee in self.calls.get(name, ())), default=0)
        return self.frames.get(name, 0) + inner


@pytest.fixture(scope="module", params=BUILDS)
def graph(request: pytest.FixtureRequest) -> CallGraph:
    compiler = TARGETS[request.param].compiler
    if shutil.which(compiler) is None:
        assert not IN_CI, f"{compiler} must be installed in CI"
        pytest.skip(f"stack of {compiler} NOT TESTED: not on this machine")
    if is_clang(compiler):
        assert not IN_CI, f"{compiler} must be gcc in CI"
        pytest.skip(f"stack NOT TESTED: {compiler} is clang, which counts otherwise")
    objects = library(request.param).parent
    found = CallGraph()
    for source in sorted(path for name in FOLDERS for path in (CSRC / name).glob("*.c")):
        text = (objects / f"{source.parent.name}_{source.stem}.ci").read_text(encoding="utf-8")
        found.read(text, KERNEL.search(source.name) is not None)
    return found


def documented(page: str, sentence: str) -> int:
    """The number of bytes in a page's sentence, in which KIB stands for the number."""
    text = (DOCS / page).read_text(encoding="utf-8")
    numbers = re.findall(re.escape(sentence).replace("KIB", r"(\d+)\ KiB"), text)
    assert len(numbers) == 1, f"{page} has not one sentence with {sentence!r}"
    return int(numbers[0]) << 10


def test_frames(graph: CallGraph) -> None:
    """No function's own frame is larger than stated, or has a size that is not known."""
    assert set(OPENING + WORKING) <= set(graph.frames)
    assert graph.calls[ANY_KERNEL]
    assert graph.kinds <= {"static", "dynamic,bounded"}
    too_large = {name: n for name, n in graph.frames.items() if n > LARGEST_FRAME}
    assert too_large == {}


def test_products_and_decoding(graph: CallGraph) -> None:
    most = documented("runtime.md", "None takes more than KIB of stack")
    found = {name: graph.depth(name) for name in WORKING}
    assert max(found.values()) <= most, found
    assert max(found.values()) > most // 2, "the documentation says far too much"


def test_opening_a_container(graph: CallGraph) -> None:
    most = documented("format.md", "needs less than KIB of stack")
    found = {name: graph.depth(name) for name in OPENING}
    assert max(found.values()) < most, found
