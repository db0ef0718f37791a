"""Files that break docs/format.md: only ContainerError, with a message that says what is wrong."""

from __future__ import annotations

import tracemalloc

import pytest

from exporters.gguf import Container, ContainerError
from tests.exporters.broken import GOLDEN, Broken
from tests.exporters.broken_files import BROKEN_FILES, truncations
from tests.exporters.gguf_bytes import take_apart


def test_taking_apart_and_putting_together_changes_nothing() -> None:
    file = GOLDEN.read_bytes()
    assert take_apart(file).build() == file


def test_names_of_broken_files_are_unique() -> None:
    names = [broken.name for broken in BROKEN_FILES]
    assert [name for name in names if names.count(name) > 1] == []


@pytest.mark.parametrize("broken", BROKEN_FILES, ids=lambda broken: broken.name)
def test_broken_file_is_refused_with_its_reason(broken: Broken) -> None:
    with pytest.raises(ContainerError) as caught:
        Container(broken.build())
    assert broken.message in str(caught.value)


def test_file_cut_off_anywhere_is_refused() -> None:
    for file in truncations():
        with pytest.raises(ContainerError):
            Container(file)


@pytest.mark.parametrize(
    "name", ["huge array", "huge string", "huge payload", "sides overflow", "keys", "gguf tensors"]
)
def test_huge_declared_size_allocates_nothing(name: str) -> None:
    file = next(broken for broken in BROKEN_FILES if broken.name == name).build()
    tracemalloc.start()
    try:
        with pytest.raises(ContainerError):
            Container(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 18
