"""Texts written in a thread of their own, one at a time, while the server listens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from edgecomp.generation import Piece
from edgecomp.generation.engine import Engine
from edgecomp.serving.completion_request import CompletionRequest
from edgecomp.serving.turns import Turns

__all__ = ["Writer"]


class Writer:
    """An engine and the line of requests before it."""

    def __init__(self, engine: Engine, queue: int) -> None:
        self.engine = engine
        self.turns = Turns(queue)
        self.abandoned = threading.Event()  # no text is wanted any more
        self._thread = ThreadPoolExecutor(1, "writer")

    async def pieces(
        self, request: CompletionRequest, prompt: Sequence[int]
    ) -> AsyncGenerator[Piece]:
        """A text's pieces, when its turn has come. Close it to stop the text within a token.

        The turn ends when the text is written, however slowly its pieces are taken. Raises what the
        engine raises, and ApiError when the line is full or the server ends.
        """
        place = self.turns.join()
        try:
            await place.turn()
        except BaseException:
            place.leave()
            raise
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[Piece | BaseException] = asyncio.Queue()
        unwanted = threading.Event()

        def hand_over(item: Piece | BaseException) -> None:
            with suppress(RuntimeError):  # the loop has ended, nobody listens
                loop.call_soon_threadsafe(items.put_nowait, item)

        def stopped() -> bool:
            return unwanted.is_set() or self.abandoned.is_set()

        def write() -> None:
            try:
                for piece in self.engine.write(prompt, request.sampling, request.limits, stopped):
                    hand_over(piece)
            except BaseException as error:
                hand_over(error)

        text = loop.run_in_executor(self._thread, write)
        text.add_done_callback(lambda _: place.leave())
        try:
            ended = False
            while not ended:
                item = await items.get()
                if isinstance(item, BaseException):
                    raise item
                ended = item.ending is not None
                yield item
        finally:
            unwanted.set()

    def close(self) -> None:
        """Stops the present text within a token, and returns when it has."""
        self.abandoned.set()
        self._thread.shutdown()
