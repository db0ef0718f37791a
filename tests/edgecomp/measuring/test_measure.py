"""`edgecomp measure`, with a stand-in for the program: on this machine, over ssh and by a stand-in
for adb. What comes back becomes a profile, and whatever happens nothing is left on the device."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from devices.profile_file import read_profile
from tests.edgecomp.measuring.stand_in import (
    Device,
    StandIn,
    assert_gone,
    measure,
    start,
    wait_until,
)

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]


def test_a_whole_measurement(device: Device, stand_in: StandIn, out: Path) -> None:
    done = measure(device, out, "--program", stand_in.program, "--name", "My board")
    profile = read_profile(out)
    assert profile.name == "My board"
    assert profile.kind == ("phone" if device.on == "adb" else "board")
    assert [cluster.core for cluster in profile.clusters] == ["Cortex-A76", "Cortex-A55"]
    assert {"trellis-k2-d1-l8-t64", "uniform-4"} < set(profile.clusters[0].costs.kernels)
    assert "Cortex-A76" in done.stdout
    assert "measured in 40 s" in done.stdout
    assert "send: 1/1 files" in done.stderr
    assert "measure: 45/45 seconds" in done.stderr
    assert "slowed down" not in done.stderr
    assert os.listdir(out.parent) == [out.name]


def test_json(local: Device, stand_in: StandIn, out: Path) -> None:
    done = measure(local, out, "--program", stand_in.program, "--json")
    fields = json.loads(done.stdout)
    assert fields["file"] == str(out)
    assert fields["profile"]["name"] == "device"
    assert fields["profile"]["clusters"][0]["count"] == 2


def test_a_phone_says_what_it_is(adb: Device, stand_in: StandIn, out: Path) -> None:
    adb.says("getprop", 'echo "${1##*.}"\n')
    measure(adb, out, "--program", stand_in.program)
    profile = read_profile(out)
    assert (profile.name, profile.chip) == ("manufacturer model", "manufacturer model")


def test_a_busy_device_is_said(local: Device, stand_in: StandIn, out: Path) -> None:
    local.says("cat", '[ "$1" = /proc/loadavg ] && echo 3.25 2 1 || exec /bin/cat "$@"\n')
    done = measure(local, out, "--program", stand_in.program)
    assert "is busy (load 3.25): figures may be too slow" in done.stderr


def test_throttling_is_a_warning(local: Device, stand_in: StandIn, out: Path) -> None:
    stand_in.measures(
        '{"kind": "clock", "seconds": 20, "core": 2, "hz": 1.2e9, "millidegrees": 84000}'
    )
    done = measure(local, out, "--program", stand_in.program)
    assert "note: the device slowed down by 50%" in done.stderr
    assert "51 -> 61 degrees" in done.stderr
    measured = read_profile(out).measured
    assert measured is not None
    assert "slowed down" in measured.notes[0]


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (["@signal 11"], ["crashed there: Segmentation fault"]),
        (["@signal 9"], ["crashed there: Killed", "memory"]),
        (["@error error: kernels.gguf: no container", "@error hint: give one", "@exit 1"],
         ["failed there with status 1: kernels.gguf: no container", "hint: give one"]),
        (["@exit 2"], ["status 2"]),
        (["@error something odd", "@exit 0"], ["broke off before its end: something odd"]),
        (["@exit 0"], ["broke off before its end"]),
        (["Segmentation fault"], ["cannot be understood", "'Segmentation fault'"]),
        (['{"kind": "kernel", "name": "unif'], ["cannot be understood", "unif"]),
    ],
)  # fmt: skip
def test_a_program_that_fails(
    local: Device, stand_in: StandIn, out: Path, says: list[str], words: list[str]
) -> None:
    stand_in.measures(*says)
    done = measure(local, out, "--program", stand_in.program, code=1)
    for word in words:
        assert word in done.stderr


def test_a_program_that_crashes(device: Device, stand_in: StandIn, out: Path) -> None:
    """Its signal comes through every way to a device."""
    stand_in.measures("@signal 4")
    done = measure(device, out, "--program", stand_in.program, code=1)
    assert f"{device.on.partition(':')[0]}" in done.stderr
    assert "crashed there: Illegal instruction" in done.stderr


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_signals(
    device: Device, stand_in: StandIn, out: Path, number: signal.Signals, code: int
) -> None:
    """Ctrl-C, kill, a closed terminal, kill -9: the program ends and the folder goes."""
    stand_in.measures("@sleep 60000")
    with start(device, out, "--program", stand_in.program) as command:
        wait_until(lambda: stand_in.running(device.home), "the program does not run")
        assert device.left_behind() != []
        command.send_signal(number)
        _, err = command.communicate(timeout=60)
    assert command.returncode == code
    assert_gone(device)
    wait_until(lambda: not stand_in.running(device.home), "the program still runs")
    assert os.listdir(out.parent) == []
    here = Path(device.environment["TMPDIR"])
    assert number == signal.SIGKILL or list(here.glob("edgecomp-*")) == []
    assert "Traceback" not in err
    assert "may be left" not in err


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"m": "riscv64"}, ["of kind riscv64, expected one of aarch64", "NEON"]),
        ({"m": "armv6l"}, ["of kind armv6l", "NEON"]),
        ({"s": "Darwin"}, ["runs Darwin", "devices list"]),
        ({"m": "aarch64"}, ["is for x86_64-linux-musl", "runs aarch64-linux-musl or arm-"]),
    ],
)
def test_other_machines(
    device: Device, stand_in: StandIn, out: Path, fields: dict[str, str], words: list[str]
) -> None:
    answer = {"s": "Linux", "m": "x86_64"} | fields
    device.says("uname", "".join(f'[ "$1" = -{k} ] && echo {v}\n' for k, v in answer.items()))
    done = measure(device, out, "--program", stand_in.program, code=1)
    for word in words:
        assert word in done.stderr


def test_a_full_disk(device: Device, stand_in: StandIn, out: Path) -> None:
    if device.on == "adb":
        (device.home.parent / "phone.state.full").touch()
    else:
        device.says("cat", "head -c 1000; echo 'cat: write error: No space left on device' >&2\n"
                           "exit 1\n")  # fmt: skip
    done = measure(device, out, "--program", stand_in.program, code=1)
    assert "no space left on the device" in done.stderr


def test_a_disk_that_takes_nothing(device: Device, stand_in: StandIn, out: Path) -> None:
    device.says("mktemp", "echo 'mktemp: cannot create: No space left on device' >&2; exit 1\n")
    done = measure(device, out, "--program", stand_in.program, code=1)
    assert "no space left on the device" in done.stderr


def test_a_place_where_nothing_runs(device: Device, stand_in: StandIn, out: Path) -> None:
    """Files never become executable, as on a disk that is mounted so."""
    device.says("chmod", "exit 0\n")
    done = measure(device, out, "--program", stand_in.program, code=1)
    assert "no folder where a program may be put and run" in done.stderr


@pytest.mark.slow
def test_the_next_place(ssh: Device, stand_in: StandIn, out: Path) -> None:
    """A folder for temporary files where nothing runs: the one in the home folder does."""
    (ssh.home / "tmp").mkdir()
    ssh.says("chmod", f'case "$2" in {ssh.home}/tmp/*) ;; *) exec /bin/chmod "$@" ;; esac\n')
    stand_in.measures("@file ../seen")
    measure(ssh, out, "--program", stand_in.program)
    assert (ssh.home / ".cache" / "seen").exists()
    assert os.listdir(ssh.home / "tmp") == []


def test_a_program_that_the_system_does_not_start(
    local: Device, stand_in: StandIn, out: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(stand_in.program.read_bytes()[:64])
    done = measure(local, out, "--program", broken, code=1)
    assert "does not run a program for x86_64-linux-musl" in done.stderr


def test_where_the_profile_cannot_go(local: Device, stand_in: StandIn, out: Path) -> None:
    """Said before anything is measured: the program does not even have to be there."""
    for path, words in (
        (out / "x.toml", "device.toml: no such folder"),
        (out.parent, "is a folder"),
    ):
        with start(local, path, "--program", "nowhere") as command:
            printed, err = command.communicate(timeout=60)
        assert (command.returncode, printed) == (1, "")
        assert words in err
        assert "hint: " in err
    assert os.listdir(out.parent) == []


def test_a_profile_is_replaced_only_by_a_whole_one(
    local: Device, stand_in: StandIn, out: Path
) -> None:
    measure(local, out, "--program", stand_in.program)
    before = out.read_bytes()
    stand_in.measures("@exit 1")
    with start(local, out, "--program", stand_in.program) as command:
        command.communicate(timeout=60)
    assert command.returncode == 1
    assert out.read_bytes() == before
    assert os.listdir(out.parent) == [out.name]
    assert_gone(local)
