"""Text from files, made safe for a terminal and for JSON."""

from __future__ import annotations

import json

import pytest

from edgecomp.terminal import json_safe, printable


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
def test_text(text: str, shown: str) -> None:
    assert printable(text) == shown
    safe = json_safe(json.dumps({"a": text}, ensure_ascii=False, indent=1))
    assert json.loads(safe) == {"a": text}
    assert all(c.isprintable() or c == "\n" for c in safe)
    safe.encode()


def test_json_keeps_what_can_be_read() -> None:
    assert json_safe('{"a": "é 模"}\n') == '{"a": "é 模"}\n'
