"""Connections on which no request comes."""

from __future__ import annotations

import asyncio

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from uvicorn.server import ServerState

from edgecomp.serving import protocol
from edgecomp.serving.protocol import TimedProtocol

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def answer(_request: Request) -> PlainTextResponse:
    await asyncio.sleep(0.3)  # longer than heads may take here
    return PlainTextResponse("there")


async def talk(*parts: bytes) -> tuple[bytes, bool]:
    """What comes back for parts sent 40 ms after each other, and whether the server closed."""
    config = uvicorn.Config(Starlette(routes=[Route("/", answer)]), lifespan="off", ws="none")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: TimedProtocol(config, state, {}), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    for part in parts:
        writer.write(part)
        await asyncio.sleep(0.04)
    try:
        async with asyncio.timeout(1.0):
            got = await reader.read()
            closed = True
    except TimeoutError:
        got, closed = await reader.read(1000), False
    writer.close()
    listener.close()
    return got, closed


@pytest.mark.parametrize("parts", [(), (b"G", b"E", b"T", b" "), (HEAD,)])
def test_no_head(monkeypatch: pytest.MonkeyPatch, parts: tuple[bytes, ...]) -> None:
    monkeypatch.setattr(protocol, "READ_SECONDS", 0.1)
    assert asyncio.run(talk(*parts)) == (b"", True)


def test_half_a_head_behind_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "READ_SECONDS", 0.1)
    got, closed = asyncio.run(talk(HEAD + b"\r\n", *[b""] * 10, b"GET"))
    assert (got.endswith(b"there"), closed) == (True, True)


def test_an_answer_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "READ_SECONDS", 0.1)
    got, closed = asyncio.run(talk(HEAD[:9], HEAD[9:], b"Connection: close\r\n\r\n"))
    assert (got.endswith(b"there"), closed) == (True, True)
