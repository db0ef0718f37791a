"""A machine that answers ssh. One connection: the first command is the master of the others."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecomp.measuring.errors import AddressError, MeasureError

__all__ = ["SshTarget", "ssh_target"]

ADDRESS = re.compile(
    r"(?:(?P<user>[^@\s:/-][^@\s:/]*)@)?"
    r"(?:\[(?P<six>[0-9A-Fa-f:.%]+\w*)\]|(?P<host>[^-@\s:/\[\]][^@\s:/\[\]]*))(?::(?P<port>\d{1,5}))?"
)
# ~/.ssh/config and the agent count, but nothing is asked, forwarded or started beside.
OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": "10",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "ControlPersist": "no",
}
# What ssh says on stderr, in lower case: what that is, and what may help. {name} is the device as
# the user named it, {host} what ssh takes.
MEANINGS = {
    "could not resolve": (
        "{name}: no such host is known",
        "check the name, or give its address",
    ),
    "identification has changed": (
        "{name}: its host key is not the one that was known",
        "if the device was set up anew: ssh-keygen -R HOST, then connect once by hand",
    ),
    "host key verification failed": (
        "{name}: its host key is not known yet",
        "connect once by hand, ssh {host}, and accept it",
    ),
    "permission denied": (
        "{name}: the login was refused",
        "let it in without a password: ssh-copy-id {host}",
    ),
    "too many authentication failures": (
        "{name}: the login was refused",
        "name the key in ~/.ssh/config: IdentityFile, IdentitiesOnly",
    ),
    "connection refused": (
        "{name} cannot be reached: connection refused",
        "does its ssh server run, is the port right?",
    ),
    "no route to host": (
        "{name} cannot be reached: no route to host",
        "is it switched on, and in the same network?",
    ),
    "network is unreachable": (
        "{name} cannot be reached: network is unreachable",
        "is this computer in its network?",
    ),
    "timed out": (
        "{name} cannot be reached: it does not answer",
        "is it switched on, and in the same network?",
    ),
}
LOST = ("closed by", "broken pipe", "reset by", "not responding", "connection closed", "to remote")


@dataclass(frozen=True)
class SshTarget:
    """A host, as `ssh` knows it, and the socket by which further commands share the login."""

    name: str
    host: str
    port: int
    socket: Path
    kind: None = None
    folders: tuple[str, ...] = ('"$TMPDIR"', '"$HOME/.cache"', "/tmp", "/var/tmp", '"$HOME"')

    def ssh(self, master: bool, script: str) -> list[str]:
        """The command, with a script for any login shell."""
        options = {
            **OPTIONS,
            "ControlMaster": "yes" if master else "no",
            "ControlPath": str(self.socket),
            "LogLevel": "INFO" if master else "ERROR",
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        port = ["-p", str(self.port)] if self.port else []
        return ["ssh", "-T", *words, *port, "--", self.host, f"sh -c {quoted(script)}"]

    def open_command(self, script: str) -> list[str]:
        """ssh that logs in."""
        return self.ssh(True, script)

    def command(self, script: str) -> list[str]:
        """ssh over the connection that there is."""
        return self.ssh(False, script)

    def push_command(self, path: Path, to: str) -> None:
        """None: no scp or sftp is needed there."""
        del path, to

    def explain(self, errors: Sequence[str]) -> MeasureError:
        """What ssh's words mean."""
        text = " ".join(errors).lower()
        last = errors[-1] if errors else "ssh ended without a word"
        host = shlex.quote(self.host)
        host = f"-p {self.port} {host}" if self.port else host
        for words, (message, hint) in MEANINGS.items():
            if words in text:
                return MeasureError(message.format(name=self.name), hint.format(host=host))
        if any(words in text for words in LOST):
            return MeasureError(
                f"{self.name}: the connection was lost: {last}",
                "see that it stays on and reachable, then measure again",
            )
        return MeasureError(f"{self.name}: {last}", f"try by hand: ssh {host} uname -m")


def quoted(script: str) -> str:
    """The script as one word of any login shell: sh, csh and fish agree about '...' and \"'\"."""
    return "'" + script.replace("'", "'\"'\"'") + "'"


def ssh_target(address: str, folder: Path) -> SshTarget:
    """The target of [user@]host[:port]; its socket is in `folder`. AddressError."""
    found = ADDRESS.fullmatch(address)
    if found is None or int(found["port"] or 1) not in range(1, 65536):
        raise AddressError(
            f"--on ssh:{address}: no such form of address",
            "ssh:[user@]host[:port], such as ssh:pi@raspberrypi.local",
        )
    user = f"{found['user']}@" if found["user"] else ""
    host = user + (found["six"] or found["host"])
    return SshTarget(f"ssh:{address}", host, int(found["port"] or 0), folder / "s")
