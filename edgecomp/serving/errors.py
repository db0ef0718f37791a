"""Errors in the shape that OpenAI's clients know, and the one before any client."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ApiError", "ListenError", "not_found", "wrong"]


class ListenError(ValueError):
    """An address that cannot be listened at."""

    hint = "--port and --host choose another address"


class ApiError(Exception):
    """What a client is told instead of an answer."""

    def __init__(
        self, status: int, message: str, kind: str, param: str = "", code: str = ""
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.kind, self.param, self.code = kind, param, code

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the reply."""
        return {"Retry-After": "1"} if self.status in (429, 503) else {}

    def fields(self) -> dict[str, object]:
        """The reply."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param or None,
                "code": self.code or None,
            }
        }


def wrong(message: str, param: str = "", code: str = "") -> ApiError:
    """A request that will never be right; `param` is the field at fault."""
    return ApiError(400, message, "invalid_request_error", param, code)


def not_found(message: str, param: str = "", code: str = "not_found") -> ApiError:
    """Something that is asked for and is not here."""
    return ApiError(404, message, "invalid_request_error", param, code)
