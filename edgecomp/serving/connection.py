"""A client's side of a request: its body within limits, and whether it is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from edgecomp.serving.errors import ApiError
from edgecomp.serving.settings import MAX_BODY_BYTES, READ_SECONDS

__all__ = ["check_content_type", "read_body", "while_connected"]

DISCARDED = 16  # times the limit that are read and thrown away, so that the client sees the answer


def check_content_type(request: Request) -> None:
    """ApiError unless the body is said to be JSON, which a page of another site cannot say."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(
            415,
            "Content-Type is not application/json, expected -H 'Content-Type: application/json'",
            "invalid_request_error",
        )


async def read_body(request: Request) -> bytes:
    """A request's body. ApiError when it is too large or too slow; ClientDisconnect."""
    kept = bytearray()
    total = 0
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for part in request.stream():
                total += len(part)
                if total <= MAX_BODY_BYTES:
                    kept += part
                elif total > DISCARDED * MAX_BODY_BYTES:
                    break
    except TimeoutError as error:
        raise ApiError(
            408, f"the body did not come within {READ_SECONDS:g} s", "invalid_request_error"
        ) from error
    if total > MAX_BODY_BYTES:
        raise ApiError(
            413, f"the body is larger than {MAX_BODY_BYTES} bytes", "invalid_request_error"
        )
    return bytes(kept)


async def while_connected(receive: Receive, work: Coroutine[object, object, None]) -> None:
    """Does the work, whose body has been received; ClientDisconnect as soon as the client leaves.

    The work is cancelled then, and has ended when this returns.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(disconnected(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        working.result()
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def disconnected(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
