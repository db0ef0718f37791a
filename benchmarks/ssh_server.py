"""An sshd on this machine, for a test or a benchmark, and an `ssh` that finds it under a name."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TOOLS", "Server", "free_port", "ssh_server", "tool", "write_script"]

TOOLS = ("sshd", "ssh", "scp", "ssh-keygen")


@dataclass(frozen=True)
class Server:
    """A running sshd; `folder` has its keys and ssh_config."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    def sessions(self) -> list[int]:
        """Processes of its connections."""
        found = [self.process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(OSError):
                    found += [int(word) for word in task.read_text().split()]
        return [pid for pid in found[1:] if is_sshd(pid)]

    def signal_sessions(self, number: signal.Signals) -> None:
        """A signal for every connection, not for what runs in it."""
        for pid in self.sessions():
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def is_sshd(pid: int) -> bool:
    """Whether a process is a part of sshd."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().startswith("sshd")
    return False


def tool(name: str) -> str:
    """A program's path, "" without one; sshd is in a folder that is not everybody's."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin") or ""


def write_script(path: Path, text: str) -> None:
    """A program of bash."""
    path.write_text(f"#!/bin/bash\n{text}")
    path.chmod(0o755)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Returns when the server answers."""
    for _ in range(100):
        assert server.poll() is None, "sshd ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("sshd does not answer")


@contextmanager
def ssh_server(folder: Path, shims: Path, name: str) -> Iterator[Server]:
    """A server for one key that runs `folder`/board for every command, and in `shims` an `ssh` and
    an `scp` that know it as host `name`."""
    for key in ("host", "key"):
        make_key = [tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(make_key, check=True)
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/key.pub\nStrictModes no\nUsePAM no\n"
        f"PermitRootLogin yes\nPasswordAuthentication no\nForceCommand {folder}/board\n"
    )
    (folder / "ssh_config").write_text(
        f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n"
        f"  User {getpass.getuser()}\n  IdentityFile {folder}/key\n  IdentitiesOnly yes\n"
        f"  StrictHostKeyChecking no\n  UserKnownHostsFile {folder}/known\n  LogLevel ERROR\n"
    )
    for program, options in (("ssh", ""), ("scp", "-O ")):  # -O: scp's own protocol, by a command
        real = f"exec {tool(program)} {options}-F {folder}/ssh_config"
        write_script(shims / program, f'{real} "${{@//pi@{name}/{name}}}"\n')
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd drops its rights
    command = [tool("sshd"), "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as server:
        try:
            wait_for(port, server)
            yield Server(folder, port, server)
        finally:
            server.terminate()
