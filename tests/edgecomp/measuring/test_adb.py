"""The way to a phone by adb. There is no phone here: `adb` is a stand-in (conftest.py), a script
that answers as adb does and whose phone is a folder. test_measure.py measures through it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ssh_server import write_script

from edgecomp.measuring.adb import AdbTarget, adb_target
from edgecomp.measuring.errors import AddressError, MeasureError
from tests.edgecomp.measuring.stand_in import Device

Says = Callable[[str], None]


@pytest.fixture
def adb_says(adb: Device, monkeypatch: pytest.MonkeyPatch) -> Says:
    """Sets the list of devices that adb prints."""
    monkeypatch.setenv("PATH", adb.environment["PATH"])
    state = adb.home.parent / "phone.state"

    def say(text: str) -> None:
        state.write_text(text)

    return say


def test_the_only_device(adb_says: Says) -> None:
    adb_says("phone\tdevice\n")
    assert adb_target("") == adb_target("phone") == AdbTarget("phone")
    target = adb_target("")
    assert target.name == "adb:phone"
    assert target.command("a b") == ["adb", "-s", "phone", "shell", "-T", "a b"]
    assert target.push_command(Path("x"), "/y/z") == ["adb", "-s", "phone", "push", "x", "/y/z"]


@pytest.mark.parametrize(
    ("listed", "serial", "message", "hint"),
    [
        ("", "", "adb sees no device", "USB debugging"),
        ("", "phone", "adb sees no device", "USB debugging"),
        ("a\tdevice\nb\tdevice\n", "", "adb sees 2 devices: a, b", "--on adb:a"),
        ("a\tdevice\nb\tdevice\n", "c", "adb sees no device c, only a, b", "plug it in"),
        ("a\tunauthorized\n", "", "a has not authorised this computer", "unlock"),
        ("a\tdevice\nb\tunauthorized\n", "b", "b has not authorised", "unlock"),
        ("a\toffline\n", "", "adb:a is offline", "unplug"),
        ("a\tno permissions (user in plugdev group)\n", "", "adb:a is no", "unplug"),
        ("a\t\n", "", "adb:a is unknown", "unplug"),
    ],
)
def test_devices_that_cannot_be_measured(
    adb_says: Says, listed: str, serial: str, message: str, hint: str
) -> None:
    adb_says(listed)
    with pytest.raises(MeasureError, match=message) as caught:
        adb_target(serial)
    assert hint in caught.value.hint


def test_one_of_two(adb_says: Says) -> None:
    adb_says("a\toffline\nb\tdevice\n")
    assert adb_target("b").serial == "b"


@pytest.mark.parametrize("serial", ["-d", "a b", "a\n"])
def test_no_serial_numbers(serial: str) -> None:
    with pytest.raises(AddressError, match="no serial number"):
        adb_target(serial)


def test_no_adb_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MeasureError, match="adb is not installed on this computer") as caught:
        adb_target("")
    assert "platform tools" in caught.value.hint


def test_adb_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    write_script(
        tmp_path / "adb", "echo '* daemon not running' >&2\necho cannot bind >&2\nexit 1\n"
    )
    with pytest.raises(MeasureError, match="adb devices: cannot bind"):
        adb_target("")


def test_words_of_adb() -> None:
    target = AdbTarget("phone")
    gone = target.explain(["adb: device 'phone' not found"])
    assert str(gone) == "adb:phone: the connection was lost: adb: device 'phone' not found"
    assert "authorised" in str(target.explain(["error: device unauthorized.", "This adb server"]))
    assert "without a word" in str(target.explain([]))
