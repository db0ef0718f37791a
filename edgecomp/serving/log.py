"""One line on stderr for each request."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgecomp.terminal import printable

__all__ = ["RequestLog"]

MAX_PATH = 100  # letters that are shown


class RequestLog:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on and prints what became of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 0  # nothing was answered

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        start = time.monotonic()
        try:
            await self.app(scope, receive, note_status)
        finally:
            print(line(scope, status, time.monotonic() - start), file=sys.stderr, flush=True)


def line(scope: Scope, status: int, seconds: float) -> str:
    """When, who, what, status, seconds, and what was done."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    host, port = scope.get("client") or ("-", 0)
    path = scope["path"][:MAX_PATH]
    what = f"{now} {host}:{port} {scope['method']} {path} {status or '-'} {seconds:.2f} s"
    outcome = scope.get("outcome", "")
    return printable(f"{what}: {outcome}" if outcome else what)
