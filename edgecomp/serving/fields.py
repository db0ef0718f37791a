"""Fields of a JSON object, each taken with its type and its range."""

from __future__ import annotations

import json
import re

from edgecomp.serving.errors import ApiError, wrong
from edgecomp.terminal import printable

__all__ = ["Fields", "read_json", "shown"]

SHOWN = 60  # letters of a value in an error
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, as "\\ud83d" alone is in JSON


def shown(value: object) -> str:
    """A value as errors show it: JSON in one short line."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError):
        text = type(value).__name__
    text = printable(text)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def read_json(body: bytes) -> Fields:
    """The fields of a body that is a JSON object; ApiError when it is none."""
    try:
        value = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise wrong(f"the body is not UTF-8 at byte {error.start}, expected JSON") from error
    except (ValueError, RecursionError) as error:
        reason = "too deep" if isinstance(error, RecursionError) else str(error).split(";")[0]
        raise wrong(f"the body is not JSON: {printable(reason)}") from error
    if not isinstance(value, dict):
        raise wrong(f"the body is {shown(value)}, expected a JSON object")
    return Fields(value)


class Fields:
    """A JSON object that is emptied field by field; null is as good as not there."""

    def __init__(self, values: dict[str, object]) -> None:
        self._left = {name: value for name, value in values.items() if value is not None}

    def value(self, name: str) -> object:
        """A field of any type; None when it is not there."""
        return self._left.pop(name, None)

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number low..high."""
        value = self._left.pop(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong(name, value, f"a whole number {low}..{high}")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A number low..high."""
        value = self._left.pop(name, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise self._wrong(name, value, f"a number {low:g}..{high:g}")
        return float(value)

    def boolean(self, name: str) -> bool:
        """true or false; false when it is not there."""
        value = self._left.pop(name, False)
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def text(self, name: str) -> str:
        """A string of whole characters; empty when it is not there."""
        value = self._left.pop(name, "")
        if not is_text(value):
            raise self._wrong(name, value, "a string")
        return str(value)

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        """A string, or a list of at most `most`; empty strings are left out."""
        value = self._left.pop(name, [])
        texts = value if isinstance(value, list) else [value]
        if len(texts) > most or not all(map(is_text, texts)):
            raise self._wrong(name, value, f"a string, or a list of at most {most}")
        return tuple(filter(None, texts))

    def inner(self, name: str) -> Fields:
        """An object within this one; empty when it is not there."""
        value = self._left.pop(name, {})
        if not isinstance(value, dict):
            raise self._wrong(name, value, "an object")
        return Fields(value)

    def only(self, name: str, *allowed: object) -> None:
        """Takes a field that may have one of the values in which it changes nothing."""
        value = self._left.pop(name, None)
        if value is not None and not any(same(value, one) for one in allowed):
            expected = " or ".join(map(shown, allowed)) or "no such field"
            raise self._wrong(name, value, f"{expected}: nothing else is supported")

    def finish(self, where: str = "") -> None:
        """ApiError when fields are left that nobody has asked for."""
        for name in self._left:
            raise wrong(f"unknown field: {shown(name)}{where}", printable(name)[:SHOWN])

    def _wrong(self, name: str, value: object, expected: str) -> ApiError:
        return wrong(f"{name} is {shown(value)}, expected {expected}", name)


def same(value: object, other: object) -> bool:
    """Whether two JSON values are equal; true is not 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def is_text(value: object) -> bool:
    """Whether a JSON value is a string that UTF-8 can hold."""
    return isinstance(value, str) and SURROGATE.search(value) is None
