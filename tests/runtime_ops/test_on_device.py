"""docs/on-device.md as a newcomer would follow it: ssh to this machine, qemu for ARM."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ssh_server import TOOLS, ssh_server, write_script

from tests.runtime_ops.edgecomp_run import ROOT, build_static
from tests.tools import require

PAGE = (ROOT / "docs" / "on-device.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.M | re.S)
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


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A computer, and a board that answers ssh; ARM's programs run under qemu on both sides."""
    require("docs/on-device.md", (*TOOLS, "qemu-aarch64-static"))
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
    with ssh_server(folder, shims, "raspberrypi.local"):
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
