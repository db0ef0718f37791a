"""The C tokenizer's tables of characters."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

import pytest

from runtime_ops.unicode_table import SPACES, unicode_table
from tests.runtime_ops.harness import CSRC

WRITTEN = (CSRC / "runner" / "unicode.inc").read_text()
PAIR = re.compile(r"\{0x([0-9A-F]+), 0x([0-9A-F]+)\}")


def tables() -> dict[str, list[tuple[int, int]]]:
    """The ranges in the file, by the name of their array."""
    found = re.findall(r"ec_unicode_(\w+)\[\]\[2\] = \{(.*?)\};", WRITTEN, flags=re.DOTALL)
    return {
        name: [(int(first, 16), int(last, 16)) for first, last in PAIR.findall(body)]
        for name, body in found
    }


def test_file_is_what_the_script_writes() -> None:
    version = re.match(r"/\* Unicode ([\d.]+):", WRITTEN)
    assert version is not None
    if version[1] != unicodedata.unidata_version:
        pytest.skip(f"the file has Unicode {version[1]}, Python {unicodedata.unidata_version}")
    assert unicode_table() == WRITTEN


def test_ranges_are_in_order_and_apart() -> None:
    assert tables().keys() == {"letters", "numbers", "spaces"}
    for pairs in tables().values():
        assert all(first <= last for first, last in pairs)
        assert all(a[1] + 1 < b[0] for a, b in pairwise(pairs))


def test_kinds_of_known_characters() -> None:
    kinds = {
        name: {chr(code) for first, last in pairs for code in range(first, last + 1)}
        for name, pairs in tables().items()
    }
    assert kinds["letters"] >= set("aZéßжא中ªʰ")
    assert not kinds["letters"] & set("_1 '\u0301")
    assert kinds["numbers"] >= set("09٣½Ⅷ²")
    assert not kinds["numbers"] & set("aA.一")
    assert kinds["spaces"] == SPACES
    assert len(SPACES) == 25
    assert {c for c in map(chr, range(0x110000)) if c.isspace()} - SPACES == set("\x1c\x1d\x1e\x1f")
