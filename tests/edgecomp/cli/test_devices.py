"""`edgecomp devices`: what it lists, shows and compares, and how it says no."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import devices
from devices import catalogue
from devices.catalogue import packaged_profile, profile_ids
from devices.profile import KernelCost, Measured, Profile
from devices.profile_file import write_profile
from tests.edgecomp.command_line import Result, assert_error

Run = Callable[..., Result]
PROFILES = Path(devices.__file__).parent / "profiles"
WIDTH = 100


@pytest.fixture(autouse=True)
def terminal_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A profile as a measurement would write it."""
    profile: Profile = msgspec.structs.replace(
        packaged_profile("pi-5"),
        name="my\x1b[31mboard",
        released=None,
        aliases=(),
        measured=Measured(
            date="2026-11-20",
            version="0.1.0",
            seconds=44.0,
            clock_drift=0.031,
            temperature_start=48.2,
            temperature_end=71.0,
            notes=("it throttled",),
        ),
    )
    path = tmp_path / "mine.toml"
    write_profile(profile, path)
    return path


def test_list(run: Run) -> None:
    result = run("devices", "list")
    assert (result.code, result.err) == (0, "")
    head, *lines, blank, foot = result.out.splitlines()
    assert head.split() == ["device", "name", "chip", "cores", "GB", "GB/s", "SIMD", "year"]
    assert [line.split()[0] for line in lines] == profile_ids()
    (pi,) = (line for line in lines if line.startswith("pi-5 "))
    assert pi.split()[1:4] == ["Raspberry", "Pi", "5"]
    assert pi.split()[-5:] == ["4", "8", "~11.6", "dotprod", "2023"]
    assert blank == ""
    assert foot.startswith("~ estimated")
    assert max(map(len, result.out.splitlines())) <= WIDTH


def test_list_as_json(run: Run) -> None:
    value = json.loads(run("devices", "list", "--json").out)
    assert [each["id"] for each in value] == profile_ids()
    (pi,) = (each for each in value if each["id"] == "pi-4b")
    assert (pi["cores"], pi["kind"], pi["released"]) == (4, "board", 2019)
    assert pi["memory_bytes"] == 2**32
    assert pi["usable_bytes"] == pytest.approx(0.85 * 2**32)
    assert pi["bytes_per_second"] == 4.5e9
    assert pi["instruction_sets"] == ["scalar", "neon"]
    assert (pi["estimated"], pi["measured"]) == (True, None)
    assert "rpi4" in pi["aliases"]


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_list_with_a_damaged_profile(
    json_option: list[str], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = (tmp_path / "damaged.toml", tmp_path / "pi-5.toml")
    shutil.copy(PROFILES / "pi-5.toml", paths[1])
    paths[0].write_text("format = 1\n")
    monkeypatch.setattr(catalogue, "packaged_files", lambda: paths)
    result = run("devices", "list", *json_option)
    assert result.code == 1
    assert "pi-5" in result.out
    error, hint = result.err.splitlines()
    assert error.startswith(f"error: {paths[0]}: ")
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("device", profile_ids())
def test_show(device: str, run: Run) -> None:
    profile = packaged_profile(device)
    result = run("devices", "show", device, "--kernels")
    assert (result.code, result.err) == (0, "")
    assert profile.name in result.out.splitlines()[0]
    assert "estimated, +-" in result.out
    assert "\nnotes\n" in result.out
    for number, source in enumerate(profile.sources.values(), 1):
        assert f"\n[{number}] {source.title[:20]}" in result.out
        assert source.url in result.out
    for cluster in profile.clusters:
        assert f"{cluster.count} x {cluster.core} (" in result.out
    for kernel in profile.clusters[0].costs.kernels:
        assert f"  {kernel} " in result.out
    address = [line for line in result.out.splitlines() if "http" not in line]
    assert max(map(len, address)) <= WIDTH


def test_figures_of_show(run: Run) -> None:
    lines = run("devices", "show", "pi5").out.splitlines()
    figures = {" ".join(line.split()[:-1]) for line in lines}
    assert "memory interface, GB/s 17.1 published, +-1 %" in figures
    assert "share for an application 0.88 estimated, +-8 %" in figures
    assert "L2, KiB 512 published" in figures
    assert any(line.startswith("  threads  4 ") and "8 MiB: 11.6" in line for line in lines)


def test_show_a_measured_file(measured: Path, run: Run) -> None:
    result = run("devices", "show", measured)
    assert result.code == 0
    assert "\x1b" not in result.out
    assert result.out.splitlines()[0].endswith("Broadcom BCM2712; measured 2026-11-20")
    assert "measured, +-1 %" in result.out
    assert "published, +-" not in result.out
    assert "edgecomp-run 0.1.0 in 44 s; clocks drifted by 3.1 %" in result.out
    assert "48 degrees Celsius at its start, 71 at its end" in result.out
    assert "- it throttled" in result.out


def test_show_usual_kernels(measured: Path, run: Run) -> None:
    """Without --kernels a few lines stand for the many loops of the trellis."""
    profile = packaged_profile("pi-5")
    (cluster,) = profile.clusters
    cost = KernelCost(generate_ns=0.5, decode_ns=0.25, multiply_ns=0.125)
    few = dict.fromkeys(("raw-f16", "uniform-4", "trellis-odd", "winding-odd"), cost)
    for kernels, shown, more in (
        (few, ["raw-f16", "uniform-4"], "2 more kernels"),
        ({"trellis-odd": cost}, ["trellis-odd"], None),
    ):
        costs = msgspec.structs.replace(cluster.costs, kernels=kernels)
        own = msgspec.structs.replace(cluster, costs=costs)
        write_profile(msgspec.structs.replace(profile, clusters=(own,)), measured)
        result = run("devices", "show", measured)
        rows = [line.split() for line in result.out.splitlines() if line.endswith("0.125")]
        assert rows == [[name, "0.5", "0.25", "0.125"] for name in shown]
        assert ("more kernels" in result.out) == (more is not None)
        assert more is None or more in result.out
        assert "trellis-odd" in run("devices", "show", measured, "--kernels").out


def test_show_as_json(measured: Path, run: Run) -> None:
    value = json.loads(run("devices", "show", "rpi5", "--json").out)
    assert value["memory"]["peak_bytes_per_second"] == {
        "value": 17.1e9, "source": "product", "estimated": False, "spread": 0.01,
    }  # fmt: skip
    assert set(value["sources"]) >= {"product", "estimate", "kernel-estimates"}
    assert value["measured"] is None
    own = json.loads(run("devices", "show", measured, "--json").out)
    assert own["measured"]["clock_drift"] == 0.031
    assert own["clusters"] == value["clusters"]


def test_compare(run: Run) -> None:
    result = run("devices", "compare", "pi4", "pi5", "oneplus12")
    assert (result.code, result.err) == (0, "")
    head, *lines = result.out.splitlines()
    assert head.split() == ["pi4", "pi5", "oneplus12"]
    rows = {line.split("  ")[0]: line.split("  ", 1)[1].split() for line in lines if "  " in line}
    assert rows["cores"] == ["4", "4", "(1x)", "8", "(2x)"]
    assert rows["memory, GB"] == ["4", "8", "(2x)", "12", "(3x)"]
    assert rows["read by all threads, GB/s"] == ["4.5", "11.6", "(2.6x)", "48", "(11x)"]
    assert rows["instruction set"] == ["neon", "dotprod", "i8mm"]
    assert rows["figures"] == ["estimated"] * 3
    assert max(map(len, result.out.splitlines())) <= WIDTH


def test_compare_as_json(measured: Path, run: Run) -> None:
    first, second = json.loads(run("devices", "compare", "pi4", measured, "--json").out)
    assert (first["device"], second["device"]) == ("pi4", str(measured))
    assert set(first["figures"]) == set(second["figures"]) == set(second["ratios"])
    assert {value for value in first["ratios"].values() if value is not None} == {1}
    assert second["ratios"]["memory, GB"] == 2
    kernels = [name for name in first["figures"] if name.startswith("raw-f16")]
    assert kernels
    costs = [first["figures"][kernels[0]], second["figures"][kernels[0]]]
    assert second["ratios"][kernels[0]] == pytest.approx(costs[1] / costs[0])


def test_compare_where_a_figure_is_missing(measured: Path, run: Run) -> None:
    profile = packaged_profile("pi-5")
    memory = msgspec.structs.replace(profile.memory, peak_bytes_per_second=None)
    write_profile(msgspec.structs.replace(profile, memory=memory), measured)
    for order in (("pi4", measured), (measured, "pi4")):
        result = run("devices", "compare", *order)
        assert result.code == 0
        (row,) = (line for line in result.out.splitlines() if line.startswith("memory interface"))
        assert "-" in row.split()
        assert "x)" not in row


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["devices"], 2, "no command"),
        (["devices", "lst"], 2, "lst"),
        (["devices", "show"], 2, "Missing"),
        (["devices", "show", "pi6"], 1, "no device 'pi6'"),
        (["devices", "show", "quantum toaster"], 1, "no device"),
        (["devices", "show", "none.toml"], 1, "none.toml: No such file"),
        (["devices", "show", "/"], 1, "no device '/'"),
        (["devices", "show", str(PROFILES)], 1, "Is a directory"),
        (["devices", "compare", "pi5"], 2, "1 devices are given, expected 2 to 6"),
        (["devices", "compare", *["pi5"] * 7], 2, "7 devices"),
        (["devices", "compare", "pi5", "pi5"], 2, "twice"),
        (["devices", "compare", "pi5", "pixel9"], 1, "pixel-8"),
    ],
)
def test_errors(arguments: list[str], code: int, reason: str, run: Run) -> None:
    assert_error(run(*arguments), code, reason)


def test_a_file_that_is_no_profile(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_bytes(b"\x00\x01")
    assert_error(run("devices", "show", path), 1, "m.toml: not TOML")
    path.write_text((PROFILES / "pi-5.toml").read_text().replace("format = 1", "format = 9"))
    assert_error(run("devices", "show", path, "--json"), 1, "m.toml", "format")
