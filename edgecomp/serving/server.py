"""A server from its first socket to its last request."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from types import FrameType

import uvicorn

from edgecomp.generation.engine import Engine
from edgecomp.serving.application import application
from edgecomp.serving.errors import ListenError
from edgecomp.serving.protocol import TimedProtocol
from edgecomp.serving.settings import GRACE_SECONDS, ServeSettings
from edgecomp.serving.writer import Writer
from edgecomp.terminal import printable

__all__ = ["listen", "serve"]

MAX_HEAD_BYTES = 16384
CONNECTIONS = 256  # at least; more are answered with 503


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. ListenError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=CONNECTIONS)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ListenError(f"{host}:{port}: {reason}") from error


class Server(uvicorn.Server):
    """uvicorn's server. SIGINT and SIGTERM leave the present text some time, a second one none."""

    def __init__(self, config: uvicorn.Config, writer: Writer) -> None:
        super().__init__(config)
        self.writer = writer
        self.name = printable(writer.engine.name)
        self.loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to listen, and says so."""
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        for host, port, *_ in (listener.getsockname() for listener in sockets or ()):
            shown = f"[{host}]" if ":" in host else host
            print(f"serving {self.name} at http://{shown}:{port}/v1", file=sys.stderr, flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        again = self.should_exit
        super().handle_exit(sig, frame)
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.end, 0.0 if again else GRACE_SECONDS)

    def end(self, seconds: float) -> None:
        """Sends those away who wait; the present text has some seconds."""
        self.writer.turns.close()
        if self.loop is not None:
            self.loop.call_later(seconds, self.writer.abandoned.set)


def serve(engine: Engine, listener: socket.socket, settings: ServeSettings) -> None:
    """Serves until SIGINT or SIGTERM."""
    writer = Writer(engine, settings.queue)
    config = uvicorn.Config(
        application(writer, settings),
        log_config=None,
        access_log=False,
        loop="asyncio",
        http=TimedProtocol,
        ws="none",
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=int(GRACE_SECONDS) + 5,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        limit_concurrency=max(CONNECTIONS, 2 * settings.queue),
    )
    server = Server(config, writer)
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again when it has ended
        signal.signal(number, server.handle_exit)
    try:
        server.run([listener])
    finally:
        writer.close()
    print("stopped", file=sys.stderr, flush=True)
