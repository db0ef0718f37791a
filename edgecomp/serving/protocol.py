"""HTTP connections that are closed when a request's head does not come."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from edgecomp.serving.settings import READ_SECONDS

__all__ = ["TimedProtocol"]


class TimedProtocol(H11Protocol):
    """uvicorn's protocol, which waits for the head of a request as long as the client likes.

    A connection is idle while no request is being answered. uvicorn closes it then after
    `timeout_keep_alive`, but for two cases: before the first request, and once a byte has come.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Bytes have come, maybe those that complete a head."""
        super().data_received(data)
        if self._answering():
            self._forget()
        elif self._deadline is None:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._forget()
        super().connection_lost(exc)

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self) -> None:
        self._deadline = self.loop.call_later(READ_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._deadline = None
        if not self._answering():
            self.transport.close()

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
