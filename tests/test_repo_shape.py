"""The shape of the repository: who imports whom, how large things are, what is public."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import tomllib
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
HEAVY = {"torch", "transformers", "safetensors", "tokenizers", "huggingface_hub"}
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


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_import_direction(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    tree = ast.parse(path.read_text())
    for name in {name for node in ast.walk(tree) for name in imports(node)}:
        top = name.partition(".")[0]
        assert top not in PACKAGES or top in MAY_IMPORT[package], name
        if top == "cffi":
            assert package == "runtime_ops", name
        if name.rpartition(".")[2] in ("_native", "_encoder"):
            where = path.relative_to(ROOT).parent.as_posix()
            assert where in ("runtime_ops", "edgecomp/encode"), name
    heavy = {name for name in at_import_time(tree) if name.partition(".")[0] in HEAVY}
    assert not heavy


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
                assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION_LINES, node.name


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


def test_wheel_holds_exactly_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    real = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == real
    tops = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert tops == set(PACKAGES)
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").is_file()


def test_tracked_files_carry_no_machine_paths() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:  # an unpacked source archive
        pytest.skip("not a git work tree")
    forbidden = ["/" + "home/", "/" + "root/", "/" + "work/"]
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in (".py", ".c", ".h", ".md", ".toml", ".json") and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not [word for word in forbidden if word in text], name
