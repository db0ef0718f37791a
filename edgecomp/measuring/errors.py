"""The error of a measurement."""

from __future__ import annotations

__all__ = ["AddressError", "MeasureError"]


class MeasureError(ValueError):
    """A device that could not be measured; `hint` says what may help."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class AddressError(MeasureError):
    """A device that is named in a way that nobody understands."""
