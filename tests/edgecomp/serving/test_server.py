"""A real server of a model that can be followed by hand: answers, errors, clients that leave."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.edgecomp.generation.fake_model import continued
from tests.edgecomp.serving.running_server import Server, events, running, wait_until

FAKE = ("-m", "tests.edgecomp.serving.fake_server")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server whose tokens take no time."""
    with running(*FAKE) as started:
        yield started


@pytest.fixture
def slow() -> Iterator[Server]:
    """A server that takes 20 ms for a token; four may wait."""
    with running(*FAKE, 0.02, 4) as started:
        yield started


def text_of(answer: dict[str, list[dict[str, str]]]) -> str:
    """The text of a whole answer."""
    return answer["choices"][0]["text"]


def test_a_whole_answer(server: Server) -> None:
    status, answer = server.ask({"model": "fake", "prompt": "whole", "max_tokens": 6})
    assert status == 200
    assert answer.pop("id").startswith("cmpl-")
    assert abs(answer.pop("created") - time.time()) < 60
    assert answer == {
        "object": "text_completion",
        "model": "fake",
        "choices": [
            {
                "index": 0,
                "text": continued("whole", 6),
                "logprobs": None,
                "finish_reason": "length",
            }
        ],
        "usage": {
            "prompt_tokens": 6,
            "completion_tokens": 6,
            "total_tokens": 12,
            "prompt_tokens_details": {
                "cached_tokens": answer["usage"]["prompt_tokens_details"]["cached_tokens"]
            },
        },
    }
    assert len(text_of(server.ask({"prompt": "defaults"})[1])) == 16


def test_a_stream(server: Server) -> None:
    body = {"prompt": "stream", "max_tokens": 4, "stream": True}
    status, headers, text = server.ask_raw(body | {"stream_options": {"include_usage": True}})
    assert status == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    *chunks, counts, done = events(text)
    assert done is None
    assert [chunk["choices"][0]["text"] for chunk in chunks] == [*continued("stream", 4), ""]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [*[None] * 4, "length"]
    assert len({chunk["id"] for chunk in [*chunks, counts]}) == 1
    assert (counts["choices"], counts["usage"]["completion_tokens"]) == ([], 4)
    *_, last, done = events(server.ask_raw(body)[2])
    assert last["choices"][0]["finish_reason"] == "length"


def test_tokens_as_prompt_and_what_is_kept(server: Server) -> None:
    tokens = [256, *b"tokens"]
    for prompt in (tokens, [tokens], ["tokens"]):
        status, answer = server.ask({"prompt": prompt, "max_tokens": 3})
        assert (status, text_of(answer)) == (200, continued("tokens", 3))
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 6}


def test_echo_and_stop(server: Server) -> None:
    text = continued("echo", 9)
    ask = {"prompt": "echo", "max_tokens": 9, "echo": True, "stop": text[4:6]}
    status, answer = server.ask(ask)
    assert (status, text_of(answer)) == (200, "echo" + text[:4])
    assert answer["choices"][0]["finish_reason"] == "stop"
    chunks = events(server.ask_raw(ask | {"stream": True, "stop": [text[4:6], "zzzz"]})[2])
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == "echo" + text[:4]
    assert text_of(server.ask({"prompt": [*b"ab"], "max_tokens": 1, "echo": True})[1])[:2] == "ab"


def test_the_end_of_a_text(server: Server) -> None:
    answer = server.ask({"prompt": "#"})[1]
    assert (text_of(answer), answer["choices"][0]["finish_reason"]) == ("", "stop")
    answer = server.ask({"prompt": "#", "ignore_eos": True, "max_tokens": 3})[1]
    assert answer["usage"]["completion_tokens"] == 3


def test_fields_that_change_nothing(server: Server) -> None:
    body = {
        "prompt": "same", "max_tokens": 4, "n": 1, "best_of": 1, "presence_penalty": 0,
        "frequency_penalty": 0.0, "logit_bias": {}, "suffix": "", "logprobs": None, "user": "me",
        "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "seed": 1, "stop": None,
    }  # fmt: skip
    status, answer = server.ask(body)
    assert (status, text_of(answer)) == (200, continued("same", 4))


WRONG = [
    ({}, "prompt is missing"),
    ({"prompt": 3}, "prompt is 3"),
    ({"prompt": []}, "prompt is []"),
    ({"prompt": ["a", "b"]}, "expected one string"),
    ({"prompt": [1, -1]}, "prompt is [1, -1]"),
    ({"prompt": [1, True]}, "prompt is [1, true]"),
    ({"prompt": [1, 300]}, "token 300, expected 0..299"),
    ({"prompt": [1, 2**70]}, "prompt is"),
    ({"prompt": "p" * 4096}, "4097 tokens, expected at most 4096"),
    ({"prompt": "\ud800"}, "expected a string"),
    ({"prompt": "x", "max_tokens": 0}, "max_tokens is 0, expected a whole number 1..2000"),
    ({"prompt": "x", "max_tokens": 2001}, "max_tokens is 2001"),
    ({"prompt": "x", "max_tokens": "9"}, 'max_tokens is "9"'),
    ({"prompt": "x", "max_tokens": True}, "max_tokens is true"),
    ({"prompt": "x", "max_tokens": 1.5}, "max_tokens is 1.5"),
    ({"prompt": "x", "temperature": float("nan")}, "temperature is NaN"),
    ({"prompt": "x", "temperature": -1}, "temperature is -1"),
    ({"prompt": "x", "temperature": 10**400}, "temperature is 1000"),
    ({"prompt": "x", "top_p": 1.1}, "top_p is 1.1, expected a number 0..1"),
    ({"prompt": "x", "seed": 1.5}, "seed is 1.5"),
    ({"prompt": "x", "stop": ["a"] * 5}, "a list of at most 4"),
    ({"prompt": "x", "stop": [1]}, "stop is [1]"),
    ({"prompt": "x", "stop": "s" * 300}, "at most 256 letters"),
    ({"prompt": "x", "stream": 1}, "stream is 1, expected true or false"),
    ({"prompt": "x", "stream_options": {"x": 1}}, 'unknown field: "x" in stream_options'),
    ({"prompt": "x", "stream_options": 1}, "stream_options is 1"),
    ({"prompt": "x", "n": 2}, "n is 2, expected 1"),
    ({"prompt": "x", "n": True}, "n is true"),
    ({"prompt": "x", "best_of": 3}, "best_of is 3"),
    ({"prompt": "x", "presence_penalty": 0.5}, "presence_penalty is 0.5"),
    ({"prompt": "x", "logit_bias": {"5": 1}}, "logit_bias is"),
    ({"prompt": "x", "logprobs": 0}, "logprobs is 0"),
    ({"prompt": "x", "suffix": "y"}, 'suffix is "y"'),
    ({"prompt": "x", "user": 5}, "user is 5"),
    ({"prompt": "x", "colour\n": 5}, 'unknown field: "colour'),
    ({"prompt": "x", "\ud800": 5}, 'unknown field: "\\ud800"'),
    (b"", "not JSON"),
    (b"{", "not JSON"),
    (b"[1]", "expected a JSON object"),
    (b'{"prompt": "\xff"}', "not UTF-8 at byte 12"),
    (b"[" * 100_000, "not JSON"),
    (b'{"prompt": "x", "max_tokens": ' + b"9" * 9999 + b"}", "not JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_requests(server: Server, body: object, message: str) -> None:
    """One line that says what is wrong; the server goes on."""
    status, answer = server.ask(body)
    assert status == 400
    error = answer["error"]
    assert message in error["message"]
    assert "\n" not in error["message"]
    assert len(error["message"]) < 250
    assert error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}


def test_other_paths(server: Server) -> None:
    status, answer = server.ask({"messages": []}, "/v1/chat/completions")
    assert (status, answer["error"]["code"]) == (404, "unsupported_endpoint")
    status, answer = server.ask({"prompt": "x", "model": "gpt"})
    assert (status, answer["error"]["code"]) == (404, "model_not_found")
    status, answer = server.ask(None, "/v1/models")
    assert (status, [row["id"] for row in answer["data"]]) == (200, ["fake"])
    assert server.ask(None, "/v1/models/fake") == (200, answer["data"][0])
    assert server.ask(None, "/v1/models/other")[0] == 404
    assert server.ask(None, "/health") == (200, {"status": "ok", "requests": 0})
    assert server.ask(None, "/v2")[1]["error"]["message"] == "GET /v2: Not Found"
    assert server.ask(None)[0] == 405


def test_bodies_that_are_too_large(server: Server) -> None:
    for size in ((1 << 20) + 1, 5 << 20):
        status, answer = server.ask(b" " * size)
        assert (status, answer["error"]["message"]) == (
            413,
            "the body is larger than 1048576 bytes",
        )
    status, answer = server.ask(b'{"prompt": "x", "max_tokens": 2' + b" " * (1 << 20))
    assert status == 413
    padded = b'{"prompt": "large", "max_tokens": 2}'.ljust(1 << 20)
    assert text_of(server.ask(padded)[1]) == continued("large", 2)


def test_a_body_that_is_not_said_to_be_json(server: Server) -> None:
    connection = server.connect()
    connection.request(
        "POST", "/v1/completions", b'{"prompt": "x"}', {"Content-Type": "text/plain"}
    )
    assert connection.getresponse().status == 415
    connection.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff\x16\x03\x01 nonsense\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
        b"GET /" + b"a" * 100_000,
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http(server: Server, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 60) as client:
        client.sendall(data)
        assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert server.ask(None, "/health")[0] == 200


def test_a_model_that_fails(server: Server) -> None:
    status, answer = server.ask({"prompt": "fails!"})
    assert (status, answer["error"]["type"]) == (500, "server_error")
    assert answer["error"]["message"] == "the model failed: the model broke"
    assert any("RuntimeError" in line for line in server.log)
    assert text_of(server.ask({"prompt": "fails", "max_tokens": 3})[1]) == continued("fails", 3)


def test_32_clients(server: Server) -> None:
    """All at once, whole and in streams: each gets its own text."""

    def client(i: int) -> bool:
        prompt = f"client {i % 5}, {i}"
        body = {"prompt": prompt, "max_tokens": 20 + i, "stream": i % 2 == 0}
        status, _, text = server.ask_raw(body)
        assert status == 200
        if i % 2 == 0:
            got = "".join(chunk["choices"][0]["text"] for chunk in events(text)[:-1])
        else:
            got = text_of(json.loads(text))
        return got == continued(prompt, 20 + i)

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(client, range(32))) == [True] * 32


def test_a_client_that_leaves(slow: Server) -> None:
    """Its text ends within a token, in mid-stream and in the middle of a whole answer."""
    for stream in (True, False):
        before = len(slow.evaluated)
        with slow.begin(prompt="leave", max_tokens=2000, stream=stream):
            slow.wait_for_tokens(before + 5)
        left = len(slow.evaluated)
        slow.wait_for_requests(0)
        assert len(slow.evaluated) - left <= 3
        assert text_of(slow.ask({"prompt": "next", "max_tokens": 3})[1]) == continued("next", 3)
    wait_until(lambda: sum("client left" in line for line in slow.log) == 2, "two log lines")


def test_the_queue(slow: Server) -> None:
    """In order of arrival; a full one refuses; who leaves it is forgotten."""
    order: list[int] = []
    first = slow.begin(prompt="first", max_tokens=2000)
    waiting = []
    for i in range(4):
        slow.wait_for_requests(i + 1)
        if i == 1:
            waiting.append(slow.begin(prompt="leaves", max_tokens=1))
            continue

        def ask(number: int = i) -> None:
            assert slow.ask({"prompt": f"q{number}", "max_tokens": 2})[0] == 200
            order.append(number)

        waiting.append(threading.Thread(target=ask))
        waiting[-1].start()
    slow.wait_for_requests(5)
    status, headers, text = slow.ask_raw({"prompt": "too late"})
    assert (status, headers["retry-after"]) == (429, "1")
    assert json.loads(text)["error"]["code"] == "queue_full"
    waiting.pop(1).close()
    slow.wait_for_requests(4)
    first.close()
    for thread in waiting:
        thread.join()
    assert order == [0, 2, 3]


def test_a_reader_that_sleeps_keeps_nobody_waiting(slow: Server) -> None:
    with slow.begin(prompt="sleeps", max_tokens=20, stream=True):
        slow.wait_for_tokens(3)
        assert text_of(slow.ask({"prompt": "awake", "max_tokens": 3})[1]) == continued("awake", 3)


def test_timeouts() -> None:
    """Whole: a status; in mid-stream: an error event. The model is free again."""
    with running(*FAKE, 0.02, 4, 0.3) as server:
        status, answer = server.ask({"prompt": "long", "max_tokens": 1000})
        assert (status, answer["error"]["code"]) == (504, "timeout")
        text = server.ask_raw({"prompt": "long", "max_tokens": 1000, "stream": True})[2]
        *chunks, error = events(text)
        assert error["error"]["message"] == "no answer within 0.3 s"
        got = "".join(chunk["choices"][0]["text"] for chunk in chunks)
        assert 0 < len(got) < 100
        assert continued("long", 100).startswith(got)
        assert text_of(server.ask({"prompt": "short", "max_tokens": 3})[1]) == continued("short", 3)


def test_sigterm_lets_the_present_text_end(slow: Server) -> None:
    """It ends as it would have; who waits is sent away; nobody new gets in."""
    with slow.begin(prompt="present", max_tokens=60, stream=True) as present:
        slow.wait_for_tokens(3)
        with slow.begin(prompt="waits") as waits:
            slow.wait_for_requests(2)
            assert slow.stop() == 0
            answer = waits.makefile("rb").read()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"shutting down" in answer
        assert b"data: [DONE]" in present.makefile("rb").read()
    assert slow.log[-1] == "stopped"


def test_a_second_sigterm_ends_it_at_once(slow: Server) -> None:
    with slow.begin(prompt="present", max_tokens=2000, stream=True) as present:
        slow.wait_for_tokens(3)
        slow.process.terminate()
        time.sleep(0.2)
        assert slow.stop() == 0
        text = present.makefile("rb").read().decode()
        assert '"the server is shutting down"' in text
        assert "[DONE]" not in text
    assert len(slow.evaluated) < 200


def test_sigint_without_requests(slow: Server) -> None:
    slow.process.send_signal(2)
    assert slow.process.wait(60) == 0
