"""The C program and the Python lines of docs/runtime.md, as a reader would run them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from exporters.bundle import ModelBundle, TensorSource
from exporters.gguf import write_container
from runtime_ops import reference
from runtime_ops.formats.crvq import TABLE_ROWS
from tests.runtime_ops.vectors import LATTICE, random_tensor

ROOT = Path(__file__).parents[2]
PAGES = ("format.md", "runtime.md")
TENSOR = "model.embed_tokens.weight"


def block(language: str) -> str:
    """The fenced block of that language in docs/runtime.md."""
    text = (ROOT / "docs" / "runtime.md").read_text()
    found = re.findall(rf"```{language}\n(.*?)```", text, flags=re.S)
    assert len(found) == 1
    return str(found[0])


@pytest.mark.slow
def test_the_programs_in_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library builds by make, the example compiles without warnings and prints the row."""
    tensor = random_tensor(LATTICE, (8, 64), np.random.default_rng(1))
    bundle = ModelBundle("guide", (TensorSource(TENSOR, lambda: tensor),), "{}")
    write_container(bundle, tmp_path / "bookworm.gguf")
    build = tmp_path / "build"
    subprocess.run(["make", "-s", "-C", str(ROOT), "runtime", f"BUILD={build}"], check=True)
    assert (build / "libedgecomp.so").exists()
    (tmp_path / "example.c").write_text(block("c"))
    headers = ["-I", str(ROOT / "runtime_ops" / "csrc")]
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", *headers]
    files = [str(tmp_path / "example.c"), str(build / "libedgecomp.a")]
    subprocess.run(["cc", *flags, *files, "-o", str(tmp_path / "example")], check=True)
    command = [str(tmp_path / "example"), str(tmp_path / "bookworm.gguf")]
    run = subprocess.run([*command, TENSOR], capture_output=True, text=True, check=True)
    row = reference.decode(tensor)[3, :2]
    assert run.stdout.split() == [f"{value:.9g}" for value in row.tolist()]
    missing = subprocess.run([*command, "no such"], capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: ")

    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(block("python"), names)
    assert np.array_equal(np.asarray(names["embedding"]), reference.decode(tensor))


@pytest.mark.parametrize("page", PAGES)
def test_the_threshold_of_tables(page: str) -> None:
    """Both pages name the rows from which products go by tables."""
    text = " ".join((ROOT / "docs" / page).read_text().split())
    assert re.search(rf"`?code_bits`? 8 and (at least )?{TABLE_ROWS} rows", text)
