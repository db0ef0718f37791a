"""Text from files on a terminal: a tensor's name must not move the cursor or hide a line."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """The text in one line, control and format characters as Python writes them, such as \\x1b."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
