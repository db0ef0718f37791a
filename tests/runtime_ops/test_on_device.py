"""docs/on-device.md as a newcomer would follow it: ssh to this machine, qemu for ARM."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.runtime_ops.edgecomp_run import ROOT, build_static
from tests.runtime_ops.harness import IN_CI

PAGE = (ROOT / "docs" / "on-device.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.M | re.S)
TOOLS = ("sshd", "ssh", "scp", "ssh-keygen", "qemu-aarch64-static")
TARGET = "aarch64-linux-musl"
# Programs are called by their emulator, which is slow: measuring takes fewer tokens.
EMULATED = (
    'command="${command/ bench / bench --prefill 16 --generate 4 --rounds 1 }"\n'
    "for verb in run bench list; do\n"
    '    command="${command//edgecomp-run $verb /edgecomp-run-on-arm $verb }"\n'
    "done\n"
)
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Place:
    """Where the commands run: a copy of what they need, the board's folder, and stand-ins."""

    computer: Path
    board: Path
    environment: dict[str, str]

    def run(self, line: str) -> str:
        """What a command of the page prints; it must succeed."""
        command = ["bash", "-euo", "pipefail", "-c", line]
        done = subprocess.run(
            command, cwd=self.computer, env=self.environment, capture_output=True, text=True,
            check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout


def tool(name: str) -> str:
    """A program's path; sshd is in a folder that is not everybody's."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin") or ""


def write_script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}")
    path.chmod(0o755)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        assert server.poll() is None, "sshd ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("sshd does not answer")


@contextmanager
def ssh_server(folder: Path, shims: Path) -> Iterator[None]:
    """A server on this machine for one key, and `ssh` and `scp` that find it as the board."""
    for name in ("host", "key"):
        make_key = [tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(make_key, check=True)
    port = free_port()
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/key.pub\nStrictModes no\nUsePAM no\n"
        f"PermitRootLogin yes\nPasswordAuthentication no\nForceCommand {folder}/board\n"
    )
    (folder / "ssh_config").write_text(
        f"Host raspberrypi.local\n  HostName 127.0.0.1\n  Port {port}\n"
        f"  User {getpass.getuser()}\n  IdentityFile {folder}/key\n  IdentitiesOnly yes\n"
        f"  StrictHostKeyChecking no\n  UserKnownHostsFile {folder}/known\n  LogLevel ERROR\n"
    )
    for name, options in (("ssh", ""), ("scp", "-O ")):  # -O: scp's own protocol, by a command
        real = f"exec {tool(name)} {options}-F {folder}/ssh_config"
        write_script(shims / name, f'{real} "${{@//pi@raspberrypi.local/raspberrypi.local}}"\n')
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd drops its rights
    command = [tool("sshd"), "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as server:
        try:
            wait_for(port, server)
            yield
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A computer, and a board that answers ssh; ARM's programs run under qemu on both sides."""
    missing = [name for name in TOOLS if not tool(name)]
    if missing and not IN_CI:
        pytest.skip(f"docs/on-device.md NOT TESTED: no {', '.join(missing)}")
    assert not missing, f"{missing} must be installed in CI"
    folder = tmp_path_factory.mktemp("on-device")
    computer, board, phone, shims = (folder / name for name in ("computer", "pi", "phone", "bin"))
    for each in (computer, board, phone, shims, computer / ".venv" / "bin"):
        each.mkdir(parents=True)
    built = Path(build_static(TARGET)[-1])
    (computer / "build" / "static" / TARGET).mkdir(parents=True)
    shutil.copy(built, computer / "build" / "static" / TARGET / "edgecomp-run")
    (computer / "edgecomp").symlink_to(ROOT / "edgecomp")
    write_script(
        computer / ".venv" / "bin" / "edgecomp",
        f"PYTHONPATH={ROOT} exec {sys.executable} -c "
        '"from edgecomp.cli import main; main()" "$@"\n',
    )
    # What is called on the board; uname as the board would answer.
    write_script(
        folder / "board",
        f'cd {board} || exit 1\nuname() {{ echo aarch64; }}\ncommand="$SSH_ORIGINAL_COMMAND"\n'
        f'{EMULATED}eval "$command"\n',
    )
    arm = 'exec qemu-aarch64-static "${0%-on-arm}" "$@"\n'
    write_script(board / "edgecomp-run-on-arm", arm)
    (board / ".local" / "bin").mkdir(parents=True)
    write_script(board / ".local" / "bin" / "edgecomp-run-on-arm", arm)
    write_script(phone / "edgecomp-run-on-arm", arm)
    # adb is a stand-in: push copies, shell runs in the phone's folder.
    write_script(
        shims / "adb",
        'action="$1"; shift\n'
        f'if [ "$action" = push ]; then exec cp "${{@:1:$#-1}}" {phone}/; fi\n'
        f'command="$*"; {EMULATED}exec bash -c "${{command//$PHONE/{phone}}}"\n',
    )
    with ssh_server(folder, shims):
        path = f"{shims}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PHONE": "/data/local/tmp"}
        yield Place(computer, board, environment)


def test_the_commands_of_the_page(place: Place) -> None:
    """All of them in their order, each succeeds; the board's text is this machine's."""
    printed = {line: place.run(line) for block in BLOCKS for line in block.splitlines()
               if line != "make static"}  # fmt: skip  # the fixture ran it for one machine
    on_board = [text for line, text in printed.items() if " run bookworm.gguf -n 48" in line]
    here = place.run(".venv/bin/edgecomp run bookworm.gguf -n 48 -p 'The sea was' --threads 2")
    assert len(on_board) == 2
    assert len(here) > 50
    assert [text.strip() for text in on_board] == [here.strip()] * 2
    benches = [text for line, text in printed.items() if " bench " in line]
    assert len(benches) == 2
    assert all("tokens a second" in text and "neon" in text for text in benches)
    assert any("--kv int8" in line and text for line, text in printed.items())
    names = next(text for line, text in printed.items() if "edgecomp-run list" in line)
    assert "trellis" in names
    assert (place.board / ".local" / "bin" / "edgecomp-run").exists()


def test_the_page_has_commands_for_both() -> None:
    lines = [line for block in BLOCKS for line in block.splitlines()]
    for start in ("make static", "scp ", "ssh ", "adb push", "adb shell"):
        assert any(line.startswith(start) for line in lines), start
