"""The target that `--on` names."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecomp.measuring.adb import adb_target
from edgecomp.measuring.errors import AddressError
from edgecomp.measuring.local import LocalTarget
from edgecomp.measuring.ssh import ssh_target
from edgecomp.measuring.target import Target

__all__ = ["FORMS", "open_target"]

FORMS = "local, ssh:[user@]host[:port] or adb[:serial]"
LONGEST_FOLDER = 60  # the path of a socket has at most 104 bytes, and ssh adds 17 to it


@contextmanager
def open_target(text: str) -> Iterator[Target]:
    """The target, with a folder here for what the way to it needs. AddressError, MeasureError."""
    way, colon, rest = text.partition(":")
    if text == "local":
        yield LocalTarget()
    elif way == "adb":
        if colon and not rest:
            raise AddressError(f"--on {text}: no serial number", "--on adb takes the only device")
        yield adb_target(rest)
    elif way == "ssh":
        place = tempfile.gettempdir()
        short = place if len(place) <= LONGEST_FOLDER else "/tmp"
        with tempfile.TemporaryDirectory(prefix="edgecomp-", dir=short) as folder:
            yield ssh_target(rest, Path(folder))
    else:
        raise AddressError(f"--on {text}: no such way to a device", f"expected {FORMS}")
