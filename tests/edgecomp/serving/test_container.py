"""`edgecomp serve` on the shipped model: clients in crowds, for long, and what they take along."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgecomp.generation import Limits
from edgecomp.generation.open_engine import open_engine
from edgecomp.generation.sampling import Sampling
from runtime_ops.native_model import ModelOptions
from tests.edgecomp.serving.containers import write_bookworm
from tests.edgecomp.serving.running_server import ROOT, Server, events, running

PROMPTS = ("The old man", "The old man looked at the sea, and", "Once upon a time", "A ship")
PROGRAM = ("-c", "from edgecomp.cli import main; main()")


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model."""
    return write_bookworm(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def server(container: Path) -> Iterator[Server]:
    """What `edgecomp serve` starts."""
    with running(*PROGRAM, "serve", container, "--port", 0, "--threads", 1) as started:
        yield started


def direct(container: Path, prompt: str, n: int, sampling: Sampling) -> str:
    """The text of a model that has written nothing before."""
    with open_engine(container, ModelOptions(threads=1)) as engine:
        tokens = engine.tokenizer.encode(prompt)
        return "".join(piece.text for piece in engine.write(tokens, sampling, Limits(n)))


def request(i: int) -> dict[str, object]:
    """What client i asks for; some have the same prompt, half of them draw."""
    return {
        "prompt": PROMPTS[i % 4],
        "max_tokens": 8 + i % 8,
        "temperature": float(i % 2),
        "seed": i,
        "stream": i % 3 == 0,
    }


def sampling_of(i: int) -> Sampling:
    """The same for `direct`."""
    return Sampling(temperature=float(i % 2), seed=i)


def answer(server: Server, i: int) -> str:
    """Client i's text."""
    status, _, text = server.ask_raw(request(i))
    assert status == 200, text
    if i % 3 == 0:
        *chunks, done = events(text)
        assert done is None
        return "".join(chunk["choices"][0]["text"] for chunk in chunks)
    got = json.loads(text)["choices"][0]["text"]
    assert isinstance(got, str)
    return got


def test_32_clients_get_their_own_texts(server: Server, container: Path) -> None:
    """Those that the model writes alone, whatever it wrote before and for whom."""
    with ThreadPoolExecutor(32) as pool:
        texts = list(pool.map(lambda i: answer(server, i), range(32)))
    for i, text in enumerate(texts):
        assert text == direct(container, PROMPTS[i % 4], 8 + i % 8, sampling_of(i))
    assert len(set(texts)) > 16


def test_clients_that_leave_change_nothing(server: Server, container: Path) -> None:
    for i in range(8):
        with server.begin(
            prompt=PROMPTS[i % 4], max_tokens=500, stream=True, ignore_eos=True
        ) as gone:
            gone.recv(10 + 100 * i)
        server.wait_for_requests(0)
    text = server.ask({"prompt": "A ship", "max_tokens": 9, "temperature": 0})[1]["choices"][0]
    assert text["text"] == direct(container, "A ship", 9, Sampling())


def test_models_are_named_after_their_files(server: Server) -> None:
    assert server.ask(None, "/v1/models/bookworm")[0] == 200
    status, found = server.ask({"prompt": "word " * 5000})
    assert (status, found["error"]["code"]) == (400, "context_length_exceeded")
    status, found = server.ask({"prompt": ""})
    assert (status, found["error"]["code"]) == (400, None)


@pytest.mark.slow
def test_500_requests_in_stable_memory(server: Server) -> None:
    """Good and bad ones, some that leave: at most 4 MB more are resident than after the 100th."""
    resident = {}
    for n in range(1, 501):
        if n % 10 == 0:
            assert server.ask(b"{" * n)[0] == 400
        elif n % 7 == 0:
            with server.begin(prompt=PROMPTS[n % 4], max_tokens=50, stream=True) as gone:
                gone.recv(100)
        else:
            answer(server, n)
        if n in (100, 500):
            server.wait_for_requests(0)
            resident[n] = server.resident_bytes()
    assert resident[500] - resident[100] <= 4_000_000


def test_a_port_that_is_taken(server: Server, container: Path) -> None:
    with (
        pytest.raises(AssertionError, match=f"error: 127.0.0.1:{server.port}: Address already"),
        running(*PROGRAM, "serve", container, "--port", server.port),
    ):
        pass


def test_sigterm_in_mid_stream(container: Path) -> None:
    """The client gets its whole text."""
    with running(*PROGRAM, "serve", container, "--port", 0) as server:
        with server.begin(prompt="A ship", max_tokens=300, stream=True, ignore_eos=True) as client:
            begun = client.recv(400)
            assert server.stop() == 0
            assert (begun + client.makefile("rb").read()).count(b"data: [DONE]") == 1
        assert server.log[-1] == "stopped"


def commands(page: str) -> list[str]:
    """The curl commands of a page."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page, flags=re.M | re.S)
    joined = "".join(blocks).replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.startswith("curl ")]


def test_the_commands_of_the_page(server: Server) -> None:
    """Every curl command of docs/serving.md answers as the page says."""
    assert shutil.which("curl"), "curl is not installed"
    outputs = []
    for command in commands((ROOT / "docs" / "serving.md").read_text()):
        here = command.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
        ran = subprocess.run(here, shell=True, capture_output=True, text=True, check=True)
        outputs.append(ran.stdout)
    whole, stream, models, health = outputs
    assert len(json.loads(whole)["choices"][0]["text"]) > 24
    assert events(stream)[-1] is None
    assert json.loads(models)["data"][0]["id"] == "bookworm"
    assert json.loads(health) == {"status": "ok", "requests": 0}


def test_the_page_lists_the_fields(server: Server) -> None:
    """Each field of the table is taken, and every status of the other table is a status."""
    page = (ROOT / "docs" / "serving.md").read_text()
    table = page.split("| field |")[1].split("\n\n")[0]
    fields = [
        name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])
    ]
    assert len(fields) == 13
    values = {"prompt": "x", "model": "bookworm", "max_tokens": 1, "stop": ["y"],
              "stream_options": {"include_usage": False}, "stream": False, "echo": True,
              "ignore_eos": False}  # fmt: skip
    body = {name: values.get(name, 1) for name in fields}
    assert server.ask(body)[0] == 200
