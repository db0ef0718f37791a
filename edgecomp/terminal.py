"""Text from files on a terminal: a tensor's name must not move the cursor or hide a line."""

from __future__ import annotations

import re

__all__ = ["json_safe", "printable"]

BEYOND_ASCII = re.compile(r"[^\n -~]")


def printable(text: str) -> str:
    """The text in one line, control and format characters as Python writes them, such as \\x1b."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def json_safe(text: str) -> str:
    """JSON text with every character that is not printable as \\uXXXX; its line ends stay."""

    def escape(match: re.Match[str]) -> str:
        character = match[0]
        if character.isprintable():
            return character
        units = character.encode("utf-16-be", "surrogatepass").hex()
        return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))

    return BEYOND_ASCII.sub(escape, text)
