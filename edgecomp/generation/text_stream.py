"""Bytes of tokens to text that can be shown: whole characters, and nothing of a stop string."""

from __future__ import annotations

import codecs

__all__ = ["TextStream"]


class TextStream:
    """Text as it comes. What may yet become a character or a stop string is held back.

    Bytes that are no UTF-8 become U+FFFD.
    """

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self.stopped = False  # a stop string has come: it and what follows are left out
        self._stops = stops
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def add(self, data: bytes) -> str:
        """The text that can be shown now, maybe empty."""
        return self._show(self._decoder.decode(data))

    def finish(self) -> str:
        """What was held back, when nothing follows."""
        shown = self._show(self._decoder.decode(b"", final=True))
        held, self._held = self._held, ""
        return shown + held

    def _show(self, text: str) -> str:
        if self.stopped:
            return ""
        self._held += text
        found = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        n_shown = len(self._held) - self._begun()
        shown, self._held = self._held[:n_shown], self._held[n_shown:]
        return shown

    def _begun(self) -> int:
        """Length of the longest end of the held text that a stop string begins with."""
        longest = max(map(len, self._stops), default=1) - 1
        for n in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-n:]) for stop in self._stops):
                return n
        return 0
