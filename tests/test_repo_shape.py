"""The shape of the repository: who imports whom, how large things are, what is public."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("devices", "edgecomp", "exporters", "runtime_ops")
MAY_IMPORT = {
    "devices": {"devices"},
    "runtime_ops": {"runtime_ops"},
    "exporters": {"exporters", "runtime_ops"},
    "edgecomp": {"devices", "edgecomp", "exporters", "runtime_ops"},
}
# Third-party packages that a package may import, anywhere in its files.
MAY_USE = {
    "devices": {"msgspec", "tomli_w"},
    "runtime_ops": {"numpy", "cffi"},
    "exporters": {"numpy", "gguf"},
    "edgecomp": {"numpy", "rich", "typer", "gguf", "safetensors", "torch", "transformers",
                 "tokenizers", "huggingface_hub", "starlette", "uvicorn", "msgspec"},
}  # fmt: skip
ONLY_THERE = {"setuptools": "runtime_ops/build_native.py"}
HEAVY = {"torch", "transformers", "safetensors", "tokenizers", "huggingface_hub",
         "starlette", "uvicorn"}  # fmt: skip
SERVER_PACKAGE = "edgecomp/serving/"  # only `edgecomp serve` imports its modules, as it starts
# Whose modules work on tensors throughout; what is imported with edgecomp must not import them.
TORCH_PACKAGES = (
    "edgecomp/crvq/",
    "edgecomp/encode/crvq/",
    "edgecomp/encode/trellis/viterbi_torch",
    "edgecomp/trellis/",
    "edgecomp/tuning/",
)
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
CODE = [
    *SOURCES,
    *sorted(ROOT.glob("tests/**/*.py")),
    *sorted(ROOT.glob("benchmarks/*.py")),
    *sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.[ch]")),
]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(node: ast.AST) -> set[str]:
    """The modules that an import statement names; {} for other nodes."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        module = node.module or ""
        return {module} | {f"{module}.{alias.name}" for alias in node.names}
    return set()


def at_import_time(node: ast.AST) -> set[str]:
    """The modules that are imported when `node` is, functions and type checking left out."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return set()
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return set()
    found = imports(node)
    for child in ast.iter_child_nodes(node):
        found |= at_import_time(child)
    return found


def not_allowed(tree: ast.AST, path: str) -> set[str]:
    """The modules that a file at `path` imports against the rules."""
    package = path.partition("/")[0]
    allowed = MAY_IMPORT[package] | MAY_USE[package] | set(sys.stdlib_module_names)
    allowed |= {module for module, place in ONLY_THERE.items() if place == path}
    found = {name for node in ast.walk(tree) for name in imports(node)}
    bad = {name for name in found if name.partition(".")[0] not in allowed}
    for name in found:
        if name.rpartition(".")[2] in ("_native", "_encoder"):
            own = path.startswith(("runtime_ops/", "edgecomp/encode/"))
            bad |= set() if own else {name}
    heavy = HEAVY - {"torch", "safetensors"} if path.startswith(TORCH_PACKAGES) else HEAVY
    heavy = heavy - {"starlette", "uvicorn"} if path.startswith(SERVER_PACKAGE) else heavy
    for name in at_import_time(tree) if not path.startswith(TORCH_PACKAGES) else ():
        if name.replace(".", "/").startswith(tuple(p.rstrip("/") for p in TORCH_PACKAGES)):
            bad.add(name)
    return bad | {name for name in at_import_time(tree) if name.partition(".")[0] in heavy}


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_import_direction(path: Path) -> None:
    assert not not_allowed(ast.parse(path.read_text()), path.relative_to(ROOT).as_posix())


@pytest.mark.parametrize(
    ("path", "line", "allowed"),
    [
        ("devices/a.py", "import json", True),
        ("devices/a.py", "import numpy", False),
        ("devices/a.py", "import runtime_ops", False),
        ("runtime_ops/a.py", "from cffi import FFI", True),
        ("runtime_ops/a.py", "import gguf", False),
        ("runtime_ops/a.py", "import exporters.gguf", False),
        ("runtime_ops/a.py", "import setuptools", False),
        ("runtime_ops/build_native.py", "from setuptools.command import build_ext", True),
        ("runtime_ops/a.py", "from runtime_ops import _native", True),
        ("exporters/a.py", "import gguf, numpy, runtime_ops.formats", True),
        ("exporters/a.py", "from runtime_ops._native import lib", False),
        ("exporters/a.py", "import edgecomp", False),
        ("exporters/a.py", "def f():\n  import torch", False),
        ("edgecomp/encode/a.py", "from edgecomp.encode._encoder import lib", True),
        ("edgecomp/a.py", "from edgecomp.encode import _encoder", False),
        ("edgecomp/a.py", "import cffi", False),
        ("edgecomp/a.py", "import torch", False),
        ("edgecomp/a.py", "def f():\n  import torch", True),
        ("edgecomp/crvq/a.py", "import torch, safetensors.torch", True),
        ("edgecomp/crvq/a.py", "import transformers", False),
        ("edgecomp/a.py", "from edgecomp.crvq.run import encode_model", False),
        ("edgecomp/a.py", "def f():\n  from edgecomp.crvq.run import encode_model", True),
        ("edgecomp/serving/a.py", "import starlette, uvicorn", True),
        ("edgecomp/serving/a.py", "import torch", False),
        ("edgecomp/cli/a.py", "import uvicorn", False),
        ("edgecomp/a.py", "import requests", False),
    ],
)
def test_import_rule(path: str, line: str, allowed: bool) -> None:
    assert bool(not_allowed(ast.parse(line), path)) != allowed


BOARD = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in allowed:
            raise ModuleNotFoundError(f"not on a board: {name}", name=name)

allowed = {"numpy", "cffi", "_cffi_backend", "runtime_ops", "devices"}
sys.meta_path.insert(0, Refuse())
try:
    import gguf
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("gguf is not refused")

import numpy as np
import devices
from runtime_ops import native, reference
from runtime_ops.formats import EncodedTensor, WindingFormat

fmt = WindingFormat(
    dim=2, points=16, generator=(1 << 28, 7 << 28), shift=(0, 0), levels=16, offset=1,
    centre=False, classes=1, group=0, packing="bits",
)
codes = np.random.default_rng(0).integers(0, 256, 24, np.uint8)
params = np.array([0.5, -0.25, 0.125], "<f4")
tensor = EncodedTensor(fmt, (4, 24), {"codes": codes, "params": params})
weights = native.decode(tensor)
assert weights.tobytes() == reference.decode(tensor).tobytes()
assert devices.describe().cores > 0
print(weights.shape)
"""


def test_board_needs_numpy_and_cffi_alone() -> None:
    """Only numpy, cffi and the standard library can be imported: a tensor decodes nevertheless."""
    child = subprocess.run(
        [sys.executable, "-c", BOARD], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (child.stdout, child.stderr) == ("(4, 24)\n", "")


def test_planted_imports_are_seen() -> None:
    tree = ast.parse(
        "import torch\nclass A:\n  from torch import nn\n"
        "def f():\n  import transformers\nif TYPE_CHECKING:\n  import safetensors"
    )
    assert at_import_time(tree) == {"torch", "torch.nn"}
    every = {name for node in ast.walk(tree) for name in imports(node)}
    assert every == {"torch", "torch.nn", "transformers", "safetensors"}


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_sizes(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= MAX_FILE_LINES
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                body = (node.end_lineno or 0) - node.body[0].lineno  # parameters may be many
                assert body < MAX_FUNCTION_LINES, node.name


@pytest.mark.parametrize("package", PACKAGES)
def test_all_lists_the_public_names(package: str) -> None:
    """A package's `__all__` is what its `__init__` imports or defines."""
    module = importlib.import_module(package)
    submodules = {info.name for info in pkgutil.iter_modules(module.__path__)}
    public = {
        name for name in vars(module) if not name.startswith("_") and name not in submodules
    } | {name for name in getattr(module, "__all__", ()) if name in submodules}
    public -= {"annotations"}
    assert sorted(public) == sorted(getattr(module, "__all__", ()))


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_all_names_exist(path: Path) -> None:
    """Where a module has `__all__`, it is sorted and every name in it is there."""
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
            assert len(set(names)) == len(names)
            name = module_name(path).removesuffix(".__init__")
            module = importlib.import_module(name)
            assert [missing for missing in names if not hasattr(module, missing)] == []


def test_packages_are_listed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    real = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == real
    tops = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert tops == set(PACKAGES)


@pytest.mark.slow
def test_wheel_holds_exactly_the_packages(tmp_path: Path) -> None:
    """Built from a copy: the work tree gets no build folder, and has none that could be taken."""
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "build", "*.egg-info", ".*")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=ignored)
    shutil.copytree(ROOT / "tests" / "devices", source / "tests" / "devices", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    expected = {
        path.relative_to(source).as_posix()
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.is_file()
    }
    options = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "-w", str(tmp_path), str(source)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("edgecomp-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    info = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
    built = {name for name in names if name.endswith(".so")}
    assert {name.partition("/")[0] for name in names - info} == set(PACKAGES)
    assert any(name.endswith("/licenses/LICENSE") for name in info)
    assert sorted(name.partition(".")[0] for name in built) == [
        "edgecomp/encode/_encoder",
        "runtime_ops/_native",
    ]
    assert names - info - built == expected
    for name in ("edgecomp/data/bookworm/model.safetensors", "edgecomp/encode/korobov.json",
                 "runtime_ops/csrc/edgecomp.h", "edgecomp/encode/csrc/winding.c",
                 *(f"{package}/py.typed" for package in PACKAGES)):  # fmt: skip
        assert name in names


def test_tracked_files_carry_no_machine_paths() -> None:
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0 and not os.environ.get("CI"):  # an unpacked source archive
        pytest.skip("not a git work tree")
    assert listed.returncode == 0, listed.stderr
    forbidden = ["/" + "home/", "/" + "root/", "/" + "work/"]
    names = [name for name in listed.stdout.split("\0") if name]
    assert "pyproject.toml" in names
    for name in names:
        path = ROOT / name
        if path.suffix in (".py", ".c", ".h", ".md", ".toml", ".json") and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not [word for word in forbidden if word in text], name
