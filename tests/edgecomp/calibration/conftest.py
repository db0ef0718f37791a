"""A model with a tokenizer that gives one token a letter, and a text for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.edgecomp.calibration.tiny_networks import save_tiny

N_LETTERS = 40


def write_tokenizer(folder: Path) -> None:
    """A tokenizer.json whose tokens are 40 letters, ids 3 to 42."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2}
    vocabulary |= {chr(ord("A") + i): i + 3 for i in range(N_LETTERS)}
    model = {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "<unk>"}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model}))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text of 1000 letters."""
    letters = np.random.default_rng(0).integers(0, N_LETTERS, 1000)
    path = tmp_path / "text.txt"
    path.write_text("".join(chr(ord("A") + i) for i in letters))
    return path


@pytest.fixture
def tiny_model(tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes a tiny model of an architecture, with a tokenizer."""

    def write(architecture: str) -> Path:
        folder = save_tiny(architecture, tmp_path / architecture)
        write_tokenizer(folder)
        return folder

    return write


@pytest.fixture
def llama(tiny_model: Callable[[str], Path]) -> Path:
    """The folder of a tiny Llama of three blocks, its head not tied."""
    return tiny_model("llama")
