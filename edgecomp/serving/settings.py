"""What a server may be asked for, and how long."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GRACE_SECONDS", "MAX_BODY_BYTES", "READ_SECONDS", "ServeSettings"]

MAX_BODY_BYTES = 1 << 20  # of a request
READ_SECONDS = 15.0  # in which a request must have come, head and body
GRACE_SECONDS = 10.0  # that the present text may still take when the server is told to end


@dataclass(frozen=True)
class ServeSettings:
    """Limits of a server."""

    queue: int = 32  # requests that may wait for the present one
    max_tokens: int = 1024  # that a request may ask for
    timeout: float = 600.0  # seconds from a request's arrival to its last byte; 0: no limit
