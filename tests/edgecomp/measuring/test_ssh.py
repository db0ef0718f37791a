"""What goes wrong on the way to a device by ssh, with a real sshd on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from ssh_server import Server, free_port, tool

from edgecomp.measuring.errors import AddressError
from edgecomp.measuring.ssh import SshTarget, quoted, ssh_target
from tests.edgecomp.measuring.stand_in import (
    Device,
    StandIn,
    assert_gone,
    measure,
    start,
    wait_until,
)

LOST = "the connection was lost"


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("pi", "pi", 0),
        ("pi@raspberrypi.local", "pi@raspberrypi.local", 0),
        ("pi@10.0.0.7:2222", "pi@10.0.0.7", 2222),
        ("[fe80::1%eth0]:22", "fe80::1%eth0", 22),
        ("pi@[::1]", "pi@::1", 0),
        ("first.last@my-board_2", "first.last@my-board_2", 0),
    ],
)
def test_addresses(address: str, host: str, port: int, tmp_path: Path) -> None:
    target = ssh_target(address, tmp_path)
    assert (target.host, target.port, target.name) == (host, port, f"ssh:{address}")
    command = target.command("true")
    assert command[-3:] == ["--", host, "sh -c 'true'"]
    assert ("-p" in command) == bool(port)


@pytest.mark.parametrize(
    "address",
    ["", "-oProxyCommand=x", "a b", "pi@", "@pi", "pi:", "pi:x", "pi:0", "pi:99999", "a@b@c",
     "-x@pi", "pi@-x", "::1", "pi\n", "[pi]"],
)  # fmt: skip
def test_other_addresses_are_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(AddressError, match="no such form of address"):
        ssh_target(address, tmp_path)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_scripts_survive_a_login_shell(shell: str) -> None:
    script = """echo "$((1 + 1))" 'a  b' '"' "'" """
    command = [shell, "-c", f"sh -c {quoted(script)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "2 a  b \" '\n"


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        ("ssh: Could not resolve hostname x: Name or service not known", "no such host", "name"),
        ("ssh: connect to host x port 22: No route to host", "cannot be reached", "network"),
        ("Connection timed out during banner exchange", "does not answer", "switched on"),
        ("pi@x: Permission denied (publickey,password).", "refused", "ssh-copy-id"),
        ("Received disconnect: Too many authentication failures", "refused", "IdentityFile"),
        ("client_loop: send disconnect: Broken pipe", LOST, "stays on"),
        ("Timeout, server x not responding.", LOST, "stays on"),
        ("Bad configuration option: foo", "Bad configuration option: foo", "by hand"),
    ],
)
def test_words_of_ssh(said: str, message: str, hint: str, tmp_path: Path) -> None:
    error = SshTarget("ssh:x", "x", 0, tmp_path).explain(["Warning: something", said])
    assert message in str(error)
    assert hint in error.hint
    assert "without a word" in str(SshTarget("ssh:x", "x", 0, tmp_path).explain([]))


@pytest.mark.slow
def test_no_ssh_here(ssh: Device, stand_in: StandIn, out: Path, tmp_path: Path) -> None:
    bare = replace(ssh, environment={**ssh.environment, "PATH": str(tmp_path)})
    done = measure(bare, out, "--program", stand_in.program, code=1)
    assert "ssh is not installed on this computer" in done.stderr


@pytest.mark.slow
def test_nobody_listens(ssh: Device, stand_in: StandIn, out: Path) -> None:
    device = replace(ssh, on=f"ssh:127.0.0.1:{free_port()}")
    done = measure(device, out, "--program", stand_in.program, code=1)
    assert "cannot be reached: connection refused" in done.stderr


@pytest.mark.slow
def test_a_host_that_says_nothing(ssh: Device, stand_in: StandIn, out: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        device = replace(ssh, on=f"ssh:127.0.0.1:{silent.getsockname()[1]}")
        done = measure(device, out, "--program", stand_in.program, code=1)
    assert "cannot be reached: it does not answer" in done.stderr


@pytest.mark.slow
def test_an_unknown_name(ssh: Device, stand_in: StandIn, out: Path) -> None:
    device = replace(ssh, on="ssh:no-such-board.invalid")
    done = measure(device, out, "--program", stand_in.program, code=1)
    assert "no-such-board.invalid: no such host is known" in done.stderr


@pytest.mark.slow
def test_a_refused_key(ssh: Device, server: Server, stand_in: StandIn, out: Path) -> None:
    (server.folder / "key.pub").write_text("")
    done = measure(ssh, out, "--program", stand_in.program, code=1)
    assert "the login was refused" in done.stderr
    assert "ssh-copy-id board.test" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("changed", [True, False])
def test_host_keys(
    ssh: Device, server: Server, stand_in: StandIn, out: Path, changed: bool
) -> None:
    """One that is not known yet, and one that is another than before."""
    config = server.folder / "ssh_config"
    config.write_text(config.read_text().replace("Checking no", "Checking ask"))
    if changed:
        other = (server.folder / "key.pub").read_text().split()[:2]
        known = f"[127.0.0.1]:{server.port} {' '.join(other)}\n"
        (server.folder / "known").write_text(known)
    done = measure(ssh, out, "--program", stand_in.program, code=1)
    assert ("is not the one that was known" if changed else "is not known yet") in done.stderr


@pytest.mark.slow
def test_one_login(ssh: Device, server: Server, stand_in: StandIn, out: Path) -> None:
    """However many commands there are, they share a connection; its socket goes."""
    measure(ssh, out, "--program", stand_in.program)
    assert (server.folder / "log").read_text().count("Accepted publickey") == 1
    assert list(server.folder.glob("edgecomp-*")) == []


@pytest.mark.slow
def test_what_config_says_does_not_disturb(
    ssh: Device, server: Server, stand_in: StandIn, out: Path
) -> None:
    config = server.folder / "ssh_config"
    config.write_text(
        f"{config.read_text()}  RequestTTY force\n  RemoteCommand ls\n  ControlMaster auto\n"
        f"  ControlPath {server.folder}/own\n  ForwardAgent yes\n  LogLevel QUIET\n"
        f"  LocalForward {server.port} 127.0.0.1:1\n  ExitOnForwardFailure yes\n"
    )
    measure(ssh, out, "--program", stand_in.program)


@contextmanager
def measuring(ssh: Device, stand_in: StandIn, out: Path) -> Iterator[subprocess.Popen[str]]:
    """A measurement that goes on, and on."""
    stand_in.measures("@sleep 60000")
    with start(ssh, out, "--program", stand_in.program) as command:
        wait_until(lambda: stand_in.running(ssh.home), "the program does not run")
        yield command


def assert_lost(command: subprocess.Popen[str], ssh: Device, stand_in: StandIn, out: Path) -> None:
    """It says so, and nothing is left."""
    _, err = command.communicate(timeout=90)
    assert command.returncode == 1
    assert LOST in err
    assert "Traceback" not in err
    assert os.listdir(out.parent) == []
    assert_gone(ssh)
    wait_until(lambda: not stand_in.running(ssh.home), "the program still runs")


@pytest.mark.slow
def test_the_connection_breaks(ssh: Device, server: Server, stand_in: StandIn, out: Path) -> None:
    with measuring(ssh, stand_in, out) as command:
        server.signal_sessions(signal.SIGKILL)
        assert_lost(command, ssh, stand_in, out)


@pytest.mark.slow
def test_the_device_is_switched_off(
    ssh: Device, server: Server, stand_in: StandIn, out: Path
) -> None:
    """It answers no more, and the connection stays open: ssh's questions find out, in 15 seconds.
    When it wakes up, the device learns that nobody is there."""
    with measuring(ssh, stand_in, out) as command:
        server.signal_sessions(signal.SIGSTOP)
        try:
            _, err = command.communicate(timeout=90)
        finally:
            server.signal_sessions(signal.SIGCONT)
    assert command.returncode == 1
    assert LOST in err
    assert_gone(ssh)
    wait_until(lambda: not stand_in.running(ssh.home), "the program still runs")


@pytest.mark.slow
def test_somebody_ends_the_program(ssh: Device, stand_in: StandIn, out: Path) -> None:
    with measuring(ssh, stand_in, out) as command:
        (pid_file,) = ssh.home.rglob("pid")
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        _, err = command.communicate(timeout=60)
    assert command.returncode == 1
    assert "crashed there: Killed" in err
    assert_gone(ssh)


@pytest.mark.slow
def test_a_disk_that_is_really_full(
    ssh: Device, server: Server, stand_in: StandIn, out: Path
) -> None:
    """A file system of 1 MB, where root may mount one; the stand-in for `cat` is tested anyway."""
    place = ssh.home / "tmp"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() != 0 or not tool("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("a really full disk NOT TESTED: no right to mount one")
    try:
        done = measure(ssh, out, "--program", stand_in.program, code=1)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert "no space left on the device" in done.stderr


@pytest.mark.slow
def test_another_shell(ssh: Device, stand_in: StandIn, out: Path) -> None:
    """The scripts in bash, where `sh` is dash as on Debian."""
    ssh.says("sh", 'exec bash --posix "$@"\n')
    measure(ssh, out, "--program", stand_in.program)
    out.unlink()
    stand_in.measures("@signal 4")
    done = measure(ssh, out, "--program", stand_in.program, code=1)
    assert "crashed there: Illegal instruction" in done.stderr
