"""A server of the fake model, as a program: fake_server.py [SECONDS_A_TOKEN [QUEUE [TIMEOUT]]].

The model fails at `!`. What it has evaluated goes to stdout, a number of tokens a line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecomp.generation import TokenCache
from edgecomp.generation.engine import Engine
from edgecomp.serving.server import listen, serve
from edgecomp.serving.settings import ServeSettings
from tests.edgecomp.generation.fake_model import VOCAB, FakeModel, FakeSampler, FakeTokenizer

CONTEXT = 4096


class CountingModel(FakeModel):
    """Says on stdout how many tokens it evaluates."""

    def eval(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        print(len(tokens), flush=True)
        return super().eval(tokens)


def main() -> None:
    seconds, queue, timeout = (*map(float, sys.argv[1:]), *(0, 32, 60)[len(sys.argv) - 1 :])
    model = CountingModel(seconds, breaks_at=ord("!"))
    cache = TokenCache(model, CONTEXT)
    engine = Engine("fake", cache, FakeTokenizer(), lambda sampling: FakeSampler(), VOCAB)
    serve(engine, listen("127.0.0.1", 0), ServeSettings(int(queue), 2000, timeout))


if __name__ == "__main__":
    main()
