"""Whatever a body holds: a request within its limits, or an error in one line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp.generation.sampling import Sampling
from edgecomp.serving.completion_request import CompletionRequest, parse_completion
from edgecomp.serving.errors import ApiError

FIELDS = ("prompt", "model", "max_tokens", "temperature", "top_p", "min_p", "top_k", "seed", "stop",
          "stream", "stream_options", "echo", "ignore_eos", "n", "best_of", "logit_bias", "suffix",
          "presence_penalty", "logprobs", "user")  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("m"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=5,
)


def checked(body: bytes) -> CompletionRequest | None:
    """The request, with limits that hold; None when it is refused as it should be."""
    try:
        request = parse_completion(body, "m", 100)
    except ApiError as error:
        check_error(error)
        return None
    if isinstance(request.prompt, str):
        request.prompt.encode()
    else:
        assert all(0 <= token < 1 << 32 for token in request.prompt)
    assert 1 <= request.limits.max_tokens <= 100
    assert all(request.limits.stop)
    assert 0 <= request.sampling.temperature <= 100
    assert 0 <= request.sampling.seed < 1 << 64
    return request


def check_error(error: ApiError) -> None:
    """An error that can be sent, in one line."""
    assert error.status in (400, 404)
    assert error.message.isprintable()
    assert len(error.message) < 300
    json.dumps(error.fields(), ensure_ascii=False).encode()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4), st.booleans())
def test_any_object(body: dict[str, object], with_prompt: bool) -> None:
    checked(json.dumps(body | ({"prompt": "x"} if with_prompt else {})).encode())


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes(body: bytes) -> None:
    assert checked(body) is None


def test_what_is_not_given() -> None:
    request = checked(b'{"prompt": "x", "seed": 5}')
    assert request is not None
    assert request.sampling == Sampling(1.0, 0, 1.0, 0.0, 5)
    assert (request.limits.max_tokens, request.limits.stop) == (16, ())
    flags = request.stream, request.echo, request.usage, request.limits.ignore_end
    assert flags == (False, False, False, False)
    assert parse_completion(b'{"prompt": "x"}', "m", 3).limits.max_tokens == 3


def test_without_a_seed_texts_differ() -> None:
    seeds = {parse_completion(b'{"prompt": "x"}', "m", 3).sampling.seed for _ in range(4)}
    assert len(seeds) == 4


@pytest.mark.parametrize(
    ("given_seed", "seed"), [(-1, (1 << 64) - 1), ((1 << 64) - 1, (1 << 64) - 1)]
)
def test_seeds_wrap(given_seed: int, seed: int) -> None:
    body = json.dumps({"prompt": "x", "seed": given_seed}).encode()
    assert parse_completion(body, "m", 3).sampling.seed == seed
