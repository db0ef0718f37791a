"""A server in a process of its own, and clients for it."""

from __future__ import annotations

import http.client
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
SECONDS = 60.0  # that anything may take before a test gives up


@dataclass
class Server:
    """A process that serves; its lines are read as they come."""

    process: subprocess.Popen[str]
    port: int = 0
    log: list[str] = field(default_factory=list)  # of stderr
    evaluated: list[int] = field(default_factory=list)  # numbers on stdout

    def connect(self) -> http.client.HTTPConnection:
        """A client's connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)

    def ask(self, body: object, path: str = "/v1/completions") -> tuple[int, Any]:
        """Status and JSON of a request; no body: GET."""
        status, _, answer = self.ask_raw(body, path)
        return status, json.loads(answer)

    def ask_raw(
        self, body: object, path: str = "/v1/completions"
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of a request; bytes go as they are."""
        connection = self.connect()
        try:
            if body is None:
                connection.request("GET", path)
            else:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                connection.request("POST", path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()
        finally:
            connection.close()

    def begin(self, **body: object) -> socket.socket:
        """A connection that has sent a request."""
        client = socket.create_connection(("127.0.0.1", self.port), SECONDS)
        data = json.dumps(body).encode()
        head = (
            "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        client.sendall(head.encode() + data)
        return client

    def wait_for_tokens(self, n: int) -> None:
        """Returns when the model has evaluated n times."""
        wait_until(lambda: len(self.evaluated) >= n, f"{n} evaluations")

    def wait_for_requests(self, n: int) -> None:
        """Returns when n requests are in the line, the present one among them."""
        wait_until(lambda: self.ask(None, "/health")[1]["requests"] == n, f"{n} requests")

    def stop(self) -> int:
        """The exit code behind SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def resident_bytes(self) -> int:
        """Memory that the process has."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def events(text: str) -> list[Any]:
    """The values of a stream's events; `[DONE]` as None."""
    parts = text.split("\n\n")
    assert parts.pop() == ""
    assert all(part.startswith("data: ") for part in parts)
    values = [part.removeprefix("data: ") for part in parts]
    return [None if value == "[DONE]" else json.loads(value) for value in values]


def wait_until(happened: Any, what: str) -> None:
    """Returns as soon as `happened()` is true."""
    end = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@contextmanager
def running(*command: object) -> Iterator[Server]:
    """A server that runs within the block: Python's arguments."""
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    server = Server(process)
    ports: queue.Queue[int] = queue.Queue()

    def read_log() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            server.log.append(line.rstrip("\n"))
            found = re.search(r"at http://127\.0\.0\.1:(\d+)/v1$", line)
            if found:
                ports.put(int(found[1]))
        ports.put(0)

    def read_numbers() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            server.evaluated.append(int(line))

    threads = [threading.Thread(target=target) for target in (read_log, read_numbers)]
    for thread in threads:
        thread.start()
    try:
        server.port = ports.get(timeout=SECONDS)
        assert server.port, "\n".join(server.log)
        yield server
    finally:
        process.kill()
        process.wait()
        for thread in threads:
            thread.join()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
