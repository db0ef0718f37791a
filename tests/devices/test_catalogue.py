"""Devices by id, alias and file, and what is said of names that no device has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import devices
from devices import catalogue
from devices.catalogue import find_profile, packaged_profile, profile_ids, same_name
from devices.profile import ProfileError

PROFILES = Path(devices.__file__).parent / "profiles"


@pytest.fixture
def other_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the packaged one: a Raspberry Pi 5, an OnePlus 12, and damage."""
    for name in ("pi-5", "oneplus-12"):
        shutil.copy(PROFILES / f"{name}.toml", tmp_path)
    (tmp_path / "a-damaged.toml").write_text("format = 1\n")
    (tmp_path / ".hidden.toml").write_text("format = 1\n")
    monkeypatch.setattr(catalogue, "files", lambda package: tmp_path)
    monkeypatch.setattr(catalogue, "packaged_files", catalogue.packaged_files.__wrapped__)
    (tmp_path / "profiles").symlink_to(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["pi-5", "pi5", "PI5", "Pi 5", "rpi5", "pi_5", "Raspberry Pi 5", "raspberry-pi-5"]
)
def test_ways_to_write_a_name(name: str) -> None:
    assert find_profile(name) == packaged_profile("pi-5")


def test_every_id_and_alias_is_found() -> None:
    for device in profile_ids():
        profile = packaged_profile(device)
        for name in (device, profile.name, *profile.aliases):
            assert find_profile(name) == profile


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(PROFILES / "pi-4b.toml", tmp_path / "mine.toml")
    shutil.copy(PROFILES / "pi-4b.toml", tmp_path / "pi5")
    monkeypatch.chdir(tmp_path)
    for name in ("mine.toml", "./mine.toml", str(tmp_path / "mine.toml"), "pi5"):
        assert find_profile(name) == packaged_profile("pi-4b")


@pytest.mark.parametrize("name", ["pi-5.toml", "./folder/pi-5", "folder/"])
def test_a_file_that_is_not_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises((OSError, ProfileError)):
        find_profile(name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("pi6", "pi-5"),
        ("pixel9", "pixel-8"),
        ("one plus 11", "oneplus-12"),
        ("macbook", "macbook-air-m2"),
        ("orangpi5", "orange-pi-5"),
        ("Galaxy S25", "galaxy-s24"),
    ],
)
def test_unknown_names_are_answered_with_near_ones(name: str, nearest: str) -> None:
    with pytest.raises(ProfileError) as raised:
        find_profile(name)
    assert str(raised.value) == f"no device {name!r}"
    assert nearest in raised.value.hint
    assert "edgecomp devices list" in raised.value.hint


@pytest.mark.parametrize("name", ["", "-", "quantum toaster", "\x1b[31m", "x" * 5000])
def test_names_like_no_other(name: str) -> None:
    with pytest.raises(ProfileError) as raised:
        find_profile(name)
    assert "\x1b" not in str(raised.value)
    assert "edgecomp devices list" in raised.value.hint
    assert "nearest" not in raised.value.hint


def test_same_name() -> None:
    assert same_name("Orange Pi_5") == same_name("orange-pi-5") == "orangepi5"
    assert same_name("pi5") != same_name("pi4")


def test_a_damaged_profile_hides_no_other(other_profiles: Path) -> None:
    assert profile_ids() == ["a-damaged", "oneplus-12", "pi-5"]
    assert find_profile("rpi5").name == "Raspberry Pi 5"
    with pytest.raises(ProfileError, match=r"a-damaged\.toml: "):
        find_profile("a damaged")
    with pytest.raises(ProfileError, match="no device 'pi6'"):
        find_profile("pi6")
