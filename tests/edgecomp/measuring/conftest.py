"""Devices for the tests: this machine, by a shell, by sshd on loopback, and by an adb that is a
stand-in: a script that knows `devices`, `push` and `shell` and does in a folder what a phone would.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ssh_server import TOOLS, Server, ssh_server, tool, write_script

from tests.edgecomp.measuring.stand_in import Device, StandIn, build_stand_in
from tests.tools import require

ADB = """
case "$1 $2" in
"devices ") printf 'List of devices attached\\n'; cat "{state}"; exit 0 ;;
"-s phone") shift 2 ;;
*) echo "adb: device '$2' not found" >&2; exit 1 ;;
esac
action="$1"; shift
if [ "$action" = push ]; then
    [ -e "{state}.full" ] && {{ echo "adb: error: remote No space left on device" >&2; exit 1; }}
    cp "$1" "$2" && exec chmod 644 "$2"
fi
[ "$1" = -T ] && shift
command="$*"; export PATH="{programs}:$PATH"
exec sh -c "${{command//\\/data\\/local\\/tmp/{phone}}}"
"""


@pytest.fixture(scope="session")
def stand_in_program(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    """The stand-in for edgecomp-run."""
    return build_stand_in(tmp_path_factory.mktemp("stand-in"))


@pytest.fixture
def stand_in(stand_in_program: StandIn) -> StandIn:
    """The same, with a whole measurement to say."""
    stand_in_program.measures()
    return stand_in_program


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short path, as sockets need it."""
    folder = Path(tempfile.mkdtemp(prefix="ec-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the profile goes, in a folder of its own."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "device.toml"


def places(folder: Path) -> tuple[Path, Path]:
    """A device's folders for files and for programs."""
    home, programs = folder / "home", folder / "programs"
    (home / ".cache").mkdir(parents=True)
    programs.mkdir()
    return home, programs


@pytest.fixture
def local(tmp_path: Path) -> Device:
    """This machine; the folder for temporary files is the test's."""
    home, programs = places(tmp_path)
    path = f"{programs}:{os.environ['PATH']}"
    return Device("local", home, programs, {**os.environ, "TMPDIR": str(home), "PATH": path})


@pytest.fixture
def adb(tmp_path: Path) -> Device:
    """A phone that is a folder; adb is a stand-in, and `phone.state` what it says of devices."""
    home, programs = places(tmp_path)
    shims, state = tmp_path / "shims", home.parent / "phone.state"
    shims.mkdir()
    state.write_text("phone\tdevice\n")
    write_script(shims / "adb", ADB.format(state=state, programs=programs, phone=home))
    path = f"{shims}:{os.environ['PATH']}"
    return Device("adb", home, programs, {**os.environ, "TMPDIR": str(state.parent), "PATH": path})


@pytest.fixture
def server(tmp_path: Path, short_folder: Path) -> Iterator[Server]:
    """An sshd on loopback that `ssh` knows as board.test, when PATH begins with its shims."""
    require("edgecomp measure over ssh", TOOLS)
    home, programs = places(tmp_path)
    shims = short_folder / "shims"
    shims.mkdir()
    write_script(
        short_folder / "board",
        f"cd {home} || exit 1\nunset TMPDIR\n[ -e tmp ] && export TMPDIR={home}/tmp\n"
        f'export HOME={home} PATH={programs}:$PATH\necho "Welcome!"\n'
        'eval "$SSH_ORIGINAL_COMMAND"\n',
    )
    with ssh_server(short_folder, shims, "board.test") as running:
        yield running


@pytest.fixture
def ssh(server: Server, tmp_path: Path) -> Device:
    """The machine behind that sshd."""
    path = f"{server.folder}/shims:{os.environ['PATH']}"
    environment = {**os.environ, "TMPDIR": str(server.folder), "PATH": path}
    home, programs = tmp_path / "home", tmp_path / "programs"
    return Device("ssh:board.test", home, programs, environment)


@pytest.fixture(
    params=["local", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ssh", "adb"))],
)
def device(request: pytest.FixtureRequest) -> Device:
    """Each of them."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Device)
    assert tool("sh")
    return found
