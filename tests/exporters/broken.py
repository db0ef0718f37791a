"""What a broken file is: a change to the golden container, and what both readers say about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.exporters.changes import Change
from tests.exporters.gguf_bytes import take_apart

GOLDEN = Path(__file__).parent.parent / "golden" / "container_v1.gguf"
# ec_status
TRUNCATED, MAGIC, VERSION, METADATA, TENSOR, FORMAT = range(1, 7)
# In the golden container, format 0 has a group, 1 is companded, 2 is the paper's, 3 and 4 are raw;
# 5 to 7 are sums of codewords (7 with one codebook), 8 to 10 split or reorder columns; 11 to 13 are
# trellises, 14 and 15 split columns into such and others.
GROUPED, TABLE, PLAIN, RAW = (f"edgecomp.format.{i}." for i in range(4))
ADDITIVE, NARROWER, ONE_BOOK, REORDERED, MOVED, SPLIT = (
    f"edgecomp.format.{i}." for i in range(5, 11)
)
TRELLIS, ROTATED, PAIRED, COMBINED = (f"edgecomp.format.{i}." for i in range(11, 15))


@dataclass(frozen=True)
class Broken:
    """A broken file, a piece of Python's message and the status that C returns.

    It is made from a sound one, the golden container where no other is named.
    """

    name: str
    change: Change
    message: str
    status: int
    sound: Callable[[], bytes] = GOLDEN.read_bytes

    def build(self) -> bytes:
        """The file."""
        parts = take_apart(self.sound())
        self.change(parts)
        return parts.build()
