"""Packaged profiles are whole and say where figures are from; broken files are refused."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.catalogue import packaged_profile, profile_ids, same_name
from devices.profile import Figure, Profile, ProfileError
from devices.profile_file import MOST_BYTES, read_profile, write_profile

ISSUE = {  # devices that must be there
    "pi-zero-2w", "pi-3b-plus", "pi-4b", "pi-5", "orange-pi-5", "jetson-orin-nano", "imx8mp-evk",
    "pixel-8", "galaxy-s24", "oneplus-12", "oneplus-nord-ce-2-lite", "surface-laptop-7",
    "iphone-14-pro", "macbook-air-m2", "generic-x86-64",
}  # fmt: skip
# Bytes a second from memory with all cores, as published: what a mistake of unit would miss by far.
PUBLISHED = {"pi-5": (10e9, 13e9), "pi-4b": (4e9, 5.5e9), "oneplus-12": (45e9, 52e9)}


@pytest.fixture(params=profile_ids())
def profile(request: pytest.FixtureRequest) -> Profile:
    return packaged_profile(request.param)


def figures(profile: Profile) -> Iterator[Figure]:
    """All single figures of a profile."""
    memory = profile.memory
    found = [memory.total_bytes, memory.usable_share, memory.peak_bytes_per_second,
             memory.last_level_cache_bytes]  # fmt: skip
    for cluster in profile.clusters:
        found += [cluster.clock_hz, cluster.l1d_bytes, cluster.l2_bytes]
    return (figure for figure in found if figure is not None)


def from_memory(profile: Profile, threads: int) -> float:
    points = [point for point in profile.bandwidth.points if point.threads == threads]
    return max(points, key=lambda point: point.working_set_bytes).bytes_per_second


def test_devices_of_the_issue() -> None:
    assert set(profile_ids()) >= ISSUE


def test_names_are_one_devices_own() -> None:
    owners: dict[str, str] = {}
    for device in profile_ids():
        profile = packaged_profile(device)
        for name in {same_name(each) for each in (device, profile.name, *profile.aliases)}:
            assert owners.setdefault(name, device) == device
        assert len(set(profile.aliases)) == len(profile.aliases)


def test_figures_that_are_not_estimated_have_an_address(profile: Profile) -> None:
    for figure in figures(profile):
        if not figure.estimated:
            assert profile.sources[figure.source].url.startswith("http")
    for part in (profile.bandwidth, profile.threading, *(c.costs for c in profile.clusters)):
        assert part.estimated or profile.sources[part.source].url.startswith("http")


def test_estimates_are_not_exact(profile: Profile) -> None:
    assert all(figure.spread > 0 for figure in figures(profile) if figure.estimated)
    parts = (profile.bandwidth, profile.threading, *(c.costs for c in profile.clusters))
    assert all(part.spread >= 0.05 for part in parts if part.estimated)


def test_every_source_is_used_and_dated(profile: Profile) -> None:
    used = {figure.source for figure in figures(profile)}
    used |= {profile.bandwidth.source, profile.threading.source}
    used |= {cluster.costs.source for cluster in profile.clusters}
    assert used == set(profile.sources)
    dates = [source.date for source in profile.sources.values()]
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\d", date) for date in dates)


def test_clusters_are_the_fastest_first(profile: Profile) -> None:
    clocks = [cluster.clock_hz.value for cluster in profile.clusters]
    assert clocks == sorted(clocks, reverse=True)
    assert profile.threading.dispatch[-1].threads == profile.cores
    assert profile.bandwidth.points[-1].threads == profile.cores


def test_bandwidth_falls_with_the_working_set(profile: Profile) -> None:
    """And four threads never read less than one, from caches or from memory."""
    points = profile.bandwidth.points
    for threads in {point.threads for point in points}:
        own = sorted(
            (p.working_set_bytes, p.bytes_per_second) for p in points if p.threads == threads
        )
        rates = [rate for _, rate in own]
        assert rates == sorted(rates, reverse=True)
        cache = profile.memory.last_level_cache_bytes
        assert cache is None or own[-1][0] >= 3 * cache.value
    assert from_memory(profile, profile.cores) >= from_memory(profile, 1)


def test_memory_of_an_application(profile: Profile) -> None:
    assert 0.4 <= profile.memory.usable_share.value <= 0.9
    assert profile.usable_bytes >= 2**28


@pytest.mark.parametrize("device", PUBLISHED)
def test_bandwidth_is_the_published_one(device: str) -> None:
    low, high = PUBLISHED[device]
    profile = packaged_profile(device)
    assert low <= from_memory(profile, profile.cores) <= high


def test_writing_and_reading_again(profile: Profile, tmp_path: Path) -> None:
    path = tmp_path / "device.toml"
    write_profile(profile, path)
    assert read_profile(path) == profile
    assert [each.name for each in tmp_path.iterdir()] == ["device.toml"]


BREAKS = {
    "missing field": (r"^chip = .*\n", "", "chip"),
    "unknown field": (r"^chip = ", "colour = 1\nchip = ", "colour"),
    "no memory": (r"^\[memory\]\n(?:\w.*\n)+", "", "memory"),
    "negative": (r"total_bytes = \{ value = ", "total_bytes = { value = -", "total_bytes"),
    "text for a number": (r"^count = 4", 'count = "four"', "count"),
    "a share above one": (r"_share = \{ value = 0", "_share = { value = 1", "usable_share"),
    "megahertz": (r"clock_hz = \{ value = [\d_]+", "clock_hz = { value = 2400", "clock_hz is 2400"),
    "memory in GB": (r"total_bytes = \{ value = [\d_]+", "total_bytes = { value = 8", "16 MiB"),
    "no cores": (r"^count = 4", "count = 0", "count"),
    "above the interface": (
        r"(threads = 4, working_set_bytes = 8_388_608, bytes_per_second = )[\d_]+", r"\g<1>30e9",
        "30.0 GB/s from memory with 4 threads, above the interface's 17.1 GB/s",
    ),
    "absurd bandwidth": (r"_second = 72_000_000_000", "_second = 1e15", "bytes_per_second"),
    "more threads than cores": (r"threads = 4, work", "threads = 5, work", "the device 4 cores"),
    "not a number": (r"generate_ns = [\d.]+", "generate_ns = nan", "generate_ns"),
    "no end": (r"generate_ns = [\d.]+", "generate_ns = inf", "generate_ns"),
    "no number of Hz": (r"clock_hz = \{ value = [\d_]+", "clock_hz = { value = nan", "clock_hz"),
    "a point twice": (r"working_set_bytes = 262_144", "working_set_bytes = 32768", "has two for"),
    "no single thread": (r"threads = 1,", "threads = 2,", "threads"),
    "no points": (r"points = \[\n(?:    .*\n)*\]", "points = []", "points"),
    "unknown source": (r'source = "variants"', 'source = "hearsay"', "hearsay"),
    "unknown instructions": (r'"neon_dotprod"', '"mmx"', "mmx"),
    "unknown step": (r"^norm = ", "dance = ", "norm"),
    "another format": (r"^format = 1", "format = 2", "format"),
    "another kind": (r'^kind = "board"', 'kind = "toaster"', "toaster"),
    "not TOML": (r"^format = 1", "format: 1", "not TOML"),
    "cut off": (r"points = \[\n(?:.*\n)*", "points = [\n", "not TOML"),
}  # fmt: skip


@pytest.mark.parametrize("change", BREAKS)
def test_broken_profiles_are_one_clear_line(change: str, tmp_path: Path) -> None:
    pattern, replacement, reason = BREAKS[change]
    text = packaged_text()
    broken, found = re.subn(pattern, replacement, text, count=1, flags=re.M)
    assert found == 1
    path = tmp_path / "broken.toml"
    path.write_text(broken)
    with pytest.raises(ProfileError) as raised:
        read_profile(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.hint


def packaged_text() -> str:
    """The Raspberry Pi 5's profile as it ships."""
    import devices

    return (Path(devices.__file__).parent / "profiles" / "pi-5.toml").read_text()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "format"),
        (b"\x00\xff\xfe binary", "not TOML"),
        (b"GGUF\x03\x00\x00\x00", "not TOML"),
        (b"{}", "not TOML"),
        (b"x = 1\n" + b"# filling\n" * (MOST_BYTES // 10), "larger than"),
        (b"a = " + b"[" * 5000, ""),
    ],
)
def test_files_that_are_no_profile(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    path.write_bytes(content)
    with pytest.raises(ProfileError) as raised:
        read_profile(path)
    assert reason in str(raised.value)
    assert str(raised.value).startswith(f"{path}: ")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(ProfileError, match=r"pipe\.toml: not a regular file"):
        read_profile(tmp_path / "pipe.toml")


def test_a_folder_and_nothing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.toml"):
        with pytest.raises(OSError, match=r"directory"):
            read_profile(path)
