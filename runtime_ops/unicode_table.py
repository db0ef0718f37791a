"""Characters by kind, as the C tokenizer needs them: letters, numbers and white space.

`python -m runtime_ops.unicode_table > runtime_ops/csrc/runner/unicode.inc` makes its tables.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator

__all__ = ["unicode_table"]

COLUMNS = 120  # of a line of C
# The property White_Space, which is what \s matches in the regular expressions of tokenizers;
# Python's str.isspace has four control characters more (U+001C to U+001F).
SPACES = frozenset(
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000"
)


def unicode_table() -> str:
    """The C file: three arrays of ranges (first, last) of code points, in order and apart."""
    kinds: tuple[tuple[str, Callable[[str], bool]], ...] = (
        ("letters", lambda character: unicodedata.category(character)[0] == "L"),
        ("numbers", lambda character: unicodedata.category(character)[0] == "N"),
        ("spaces", SPACES.__contains__),
    )
    lines = [
        f"/* Unicode {unicodedata.unidata_version}: the general categories L and N, and the "
        "property White_Space.",
        " * Written by runtime_ops/unicode_table.py. */",
        "#include <stdint.h>",
    ]
    for name, holds in kinds:
        lines += ["", f"static const uint32_t ec_unicode_{name}[][2] = {{"]
        lines += [*wrapped(ranges(holds)), "};"]
    return "\n".join(lines) + "\n"


def ranges(holds: Callable[[str], bool]) -> Iterator[tuple[int, int]]:
    """The runs of code points that have a property, as first and last."""
    first = None
    for code in range(sys.maxunicode + 2):
        inside = code <= sys.maxunicode and holds(chr(code))
        if inside and first is None:
            first = code
        elif not inside and first is not None:
            yield first, code - 1
            first = None


def wrapped(pairs: Iterator[tuple[int, int]]) -> Iterator[str]:
    """Ranges as C, as many in a line as fit."""
    line = "   "
    for first, last in pairs:
        item = f" {{0x{first:X}, 0x{last:X}}},"
        if len(line) + len(item) > COLUMNS:
            yield line
            line = "   "
        line += item
    yield line


if __name__ == "__main__":
    sys.stdout.write(unicode_table())
