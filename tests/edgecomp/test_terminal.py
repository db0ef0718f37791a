"""Text from files, made safe for a terminal and for JSON."""

from __future__ import annotations

import json

import pytest

from edgecomp.cli.report import print_json
from edgecomp.terminal import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("model.layers.0 é 模型", "model.layers.0 é 模型"),
        ("\x1b[2J\r\n\t\x00\x7f", r"\x1b[2J\r\n\t\x00\x7f"),
        ("\x9b31m\u202e\u2028\ud800", r"\x9b31m\u202e\u2028\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("it's", "it's"),
    ],
)
def test_text(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(text) == shown
    print_json({"a": text})
    safe = capsys.readouterr().out
    assert json.loads(safe) == {"a": text}
    assert all(" " <= c <= "~" or c == "\n" for c in safe)
