"""Bytes that some tensors of a container take, with the codebooks and permutations they share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from exporters.gguf import open_container, table_bytes


def bytes_of(path: Path, wanted: Callable[[str], bool]) -> tuple[int, int]:
    """Bytes and weights of the tensors whose names are wanted; each table counts once."""
    with open_container(path) as container:
        found = [entry for entry in container.tensors if wanted(entry.name)]
    parts = sum(entry.n_bytes for entry in found)
    n_bytes = parts + table_bytes(entry.format for entry in found)
    return n_bytes, sum(entry.n_weights for entry in found)
