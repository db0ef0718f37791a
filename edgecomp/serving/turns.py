"""One at a time, in the order of arrival; the line has an end."""

from __future__ import annotations

import asyncio

from edgecomp.serving.errors import ApiError

__all__ = ["Place", "Turns"]


class Turns:
    """A line of requests, of which the first one has its turn."""

    def __init__(self, queue: int) -> None:
        self.queue = queue  # that may wait
        self._line: list[Place] = []
        self._closed = False

    def __len__(self) -> int:
        """Requests in the line, with the one that has its turn."""
        return len(self._line)

    def join(self) -> Place:
        """A place at the end of the line; ApiError when there is none. Leave it when done."""
        if self._closed:
            raise shutting_down()
        if len(self._line) > self.queue:
            raise ApiError(
                429, f"{self.queue} requests are waiting, try again later", "rate_limit_error",
                code="queue_full",
            )  # fmt: skip
        place = Place(self)
        self._line.append(place)
        self._call_first()
        return place

    def leave(self, place: Place) -> None:
        """Gives a place up, the turn with it."""
        if place in self._line:
            self._line.remove(place)
            self._call_first()

    def close(self) -> None:
        """Sends everybody away but the one that has its turn."""
        self._closed = True
        for place in self._line[1:]:
            place.refused = True
            place.called.set()
        del self._line[1:]

    def _call_first(self) -> None:
        if self._line:
            self._line[0].called.set()


class Place:
    """A request's place in the line."""

    def __init__(self, turns: Turns) -> None:
        self.called = asyncio.Event()
        self.refused = False
        self._turns = turns

    async def turn(self) -> None:
        """Returns when this request has its turn; ApiError when it never will."""
        await self.called.wait()
        if self.refused:
            raise shutting_down()

    def leave(self) -> None:
        """Gives the place up; once more does no harm."""
        self._turns.leave(self)


def shutting_down() -> ApiError:
    """What a request gets that comes too late."""
    return ApiError(503, "the server is shutting down", "server_error", code="shutting_down")
