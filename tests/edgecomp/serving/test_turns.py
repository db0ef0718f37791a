"""The line of requests: its order, its end, and who leaves it."""

from __future__ import annotations

import asyncio

import pytest

from edgecomp.serving.errors import ApiError
from edgecomp.serving.turns import Turns


def test_order_and_end() -> None:
    turns = Turns(2)
    first, second, third = turns.join(), turns.join(), turns.join()
    assert [place.called.is_set() for place in (first, second, third)] == [True, False, False]
    with pytest.raises(ApiError, match="2 requests are waiting") as refused:
        turns.join()
    assert (refused.value.status, dict(refused.value.headers)) == (429, {"Retry-After": "1"})
    second.leave()
    assert not third.called.is_set()
    fourth = turns.join()
    first.leave()
    first.leave()
    assert (third.called.is_set(), fourth.called.is_set(), len(turns)) == (True, False, 2)


def test_without_a_queue() -> None:
    turns = Turns(0)
    place = turns.join()
    with pytest.raises(ApiError):
        turns.join()
    place.leave()
    assert turns.join().called.is_set()


def test_closing() -> None:
    """Who has the turn keeps it; the others, and who comes later, are sent away."""

    async def scene() -> None:
        turns = Turns(5)
        first, second = turns.join(), turns.join()
        waiting = asyncio.create_task(second.turn())
        await asyncio.sleep(0)
        assert not waiting.done()
        turns.close()
        with pytest.raises(ApiError, match="shutting down"):
            await waiting
        await first.turn()
        with pytest.raises(ApiError, match="shutting down") as refused:
            turns.join()
        assert refused.value.status == 503

    asyncio.run(scene())
