"""`edgecomp-run measure`: every line there and complete, mistakes, Ctrl-C; and never what times."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecomp.measuring.kernel_set import kernel_formats
from edgecomp.measuring.random_weights import random_tensor
from exporters.bundle import ModelBundle, TensorSource
from exporters.gguf import write_container
from runtime_ops.formats import EncodedTensor, RawFormat
from tests.exporters.broken import GOLDEN
from tests.runtime_ops.edgecomp_run import build, run
from tests.runtime_ops.harness import EVERY_TARGET, IN_CI, TARGETS

KERNELS = {
    "crvq-table": (512, 64),
    "raw-f16": (48, 64),
    "trellis-k2-d1-l8-t64": (48, 128),
    "uniform-4": (40, 96),
    "winding-d2-linear-bits": (32, 64),
}
STEPS = ["norm", "rope", "swiglu", "quantise", "rotate", "store_f16", "store_int8"]
PARTS = ["load_f16", "load_int8", "attend", "softmax"]  # of attention: measured when asked for
ATTENTION = [("f16", 64, 1), ("f16", 64, 4), ("f16", 128, 4), ("int8", 64, 1)]
SPREAD = ["low", "high"]
ORDER = ["bandwidth", "dispatch", "kernel", "step", "attention"]
KEYS = {
    "machine": [
        *("kind", "version", "architecture", "instruction_set", "instruction_sets", "cpu"),
        *("memory_bytes", "available_bytes", "page_bytes", "last_level_cache_bytes", "cores"),
    ],
    "clock": ["kind", "seconds", "core", "hz", "millidegrees"],
    "bandwidth": ["kind", "threads", "bytes", "bytes_per_second", *SPREAD],
    "dispatch": ["kind", "threads", "ns", *SPREAD],
    "kernel": [
        *("kind", "name", "core", "threads", "tokens", "where", "bytes", "ns_per_weight"),
        *SPREAD,
    ],
    "step": ["kind", "name", "core", "ns", *SPREAD],
    "attention": [
        *("kind", "core", "kv", "d_head", "group", "positions", "ns_per_position"),
        *SPREAD,
    ],
    "end": ["kind", "seconds"],
}
# What a figure with a spread is called.
VALUES = ("bytes_per_second", "ns", "ns_per_weight", "ns_per_position")
# As little time as there can be: three rounds of everything.
SHORT = ("--seconds", "0.1")

Line = dict[str, Any]
Lines = list[Line]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return build("native", tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A container with some kernels, and a vector, which is none."""
    formats = kernel_formats()
    tensors = {
        name: random_tensor(formats[name], sides, np.random.default_rng(7))
        for name, sides in KERNELS.items()
    }
    tensors["vector"] = EncodedTensor(RawFormat("f16"), (64,), {"raw": np.ones(64, np.float16)})
    return container(tmp_path_factory.mktemp("kernels") / "kernels.gguf", tensors)


def container(path: Path, tensors: dict[str, EncodedTensor]) -> Path:
    sources = (TensorSource(name, partial(tensors.__getitem__, name)) for name in tensors)
    write_container(ModelBundle("kernels", tuple(sources), "{}"), path)
    return path


@pytest.fixture(scope="module")
def whole(program: list[str], kernels: Path) -> Lines:
    """All that is measured, on one thread and on two."""
    return lines(program, kernels, *SHORT, "--threads", "2,1,2")


def lines(program: list[str], *words: object) -> Lines:
    """What it prints, each line of a kind that has the right keys and figures."""
    done = run(program, "measure", *words)
    assert (done.returncode, done.stderr) == (0, b"")
    found = [json.loads(line) for line in done.stdout.decode().splitlines()]
    for line in found:
        check_line(line)
    return found


def check_line(line: Line) -> None:
    assert list(line) == KEYS[line["kind"]]
    if "low" in line:
        value = next(line[name] for name in VALUES if name in line)
        assert 0 < line["low"] <= value <= line["high"]


def of(found: Lines, kind: str, *names: str) -> list[tuple[Any, ...]]:
    """Some values of the lines of a kind."""
    return [tuple(line[name] for name in names) for line in found if line["kind"] == kind]


def first_cores(found: Lines) -> list[int]:
    """The first core of each kind: those that figures in caches are taken on."""
    cores: dict[tuple[str | int, ...], int] = {}
    for core in found[0]["cores"]:
        cores.setdefault(tuple(core[name] for name in core if name != "id"), core["id"])
    return list(cores.values())


@pytest.fixture(scope="module")
def lap(whole: Lines) -> Lines:
    """The first lap of several, where a machine is fast enough for more; all hold the same."""
    laps: list[Lines] = [[]]
    body = [line for line in whole if "low" in line]
    for line in body:
        if laps[-1] and ORDER.index(line["kind"]) < ORDER.index(laps[-1][-1]["kind"]):
            laps.append([])
        laps[-1].append(line)
    first = [what_of(line) for line in laps[0]]
    assert all([what_of(line) for line in own] == first for own in laps)
    return laps[0]


def what_of(line: Line) -> list[tuple[str, Any]]:
    """What a line is about: all of it but figures."""
    return [(key, value) for key, value in line.items() if key not in (*VALUES, *SPREAD, "bytes")]


def test_the_lines_come_in_their_order(whole: Lines, lap: Lines) -> None:
    kinds = [line["kind"] for line in whole]
    assert set(kinds) == set(KEYS)
    assert kinds[:2] == ["machine", "clock"]
    assert kinds[-2:] == ["clock", "end"]
    own = [line["kind"] for line in lap]
    assert own == sorted(own, key=ORDER.index)
    assert set(own) == set(ORDER)
    seconds = [line["seconds"] for line in whole if line["kind"] in ("clock", "end")]
    assert seconds == sorted(seconds)


def test_the_machine_is_what_the_system_says(program: list[str], whole: Lines) -> None:
    machine = whole[0]
    version, sets = run(program, "--version").stdout.decode().splitlines()
    assert version == f"edgecomp-run {machine['version']}"
    assert sets.split()[2:] == machine["instruction_sets"]
    assert machine["instruction_set"] in machine["instruction_sets"]
    assert 0 < machine["available_bytes"] < machine["memory_bytes"]
    assert machine["page_bytes"] in (4096, 16384, 65536)
    assert {core["id"] for core in machine["cores"]} == os.sched_getaffinity(0)
    for core in machine["cores"]:
        assert list(core) == ["id", "part", "top_hz", "l1d_bytes", "l2_bytes"]
    clocks = of(whole, "clock", "core", "hz")
    assert [core for core, _ in clocks[: len(first_cores(whole))]] == first_cores(whole)
    assert all(hz > 0 for _, hz in clocks)


def test_bandwidth_and_dispatch_go_by_threads(lap: Lines) -> None:
    sets = of(lap, "bandwidth", "threads", "bytes")
    sizes = [size for threads, size in sets if threads == 1]
    assert sets == [(threads, size) for threads in (1, 2) for size in sizes]
    assert sizes[:3] == [1 << 17, 1 << 18, 1 << 19]
    assert sizes == sorted(set(sizes))
    assert of(lap, "dispatch", "threads") == [(1,), (2,)]


def test_every_kernel_in_cache_and_from_memory(whole: Lines, lap: Lines) -> None:
    found = of(lap, "kernel", "name", "where", "core", "threads", "tokens")
    cores = first_cores(whole)
    cached = [
        (name, "cache", core, 1, tokens)
        for core in cores
        for name in KERNELS
        for tokens in (1, 16, 128)
    ]
    memory = [(name, "memory", cores[0], threads, 1) for name in KERNELS for threads in (1, 2)]
    assert found == cached + memory
    for name, where, size in of(lap, "kernel", "name", "where", "bytes"):
        assert size > 7 << 20 if where == "memory" else size < 1 << 16, name
    assert ("raw-f16", "cache", 48 * 64 * 2) in of(lap, "kernel", "name", "where", "bytes")


def test_every_step_and_attention(whole: Lines, lap: Lines) -> None:
    cores = first_cores(whole)
    assert of(lap, "step", "core", "name") == [(core, name) for core in cores for name in STEPS]
    found = of(lap, "attention", "core", "kv", "d_head", "group", "positions")
    assert found == [(core, *case, 512) for core in cores for case in ATTENTION]


@pytest.mark.parametrize("name", ["uniform-4", *STEPS, *PARTS, "attend-int8-80-3"])
def test_only_one(program: list[str], kernels: Path, name: str) -> None:
    found = lines(program, kernels, *SHORT, "--threads", "1", "--only", name)
    rest = [line for line in found if "low" in line]
    cores = len(first_cores(found))
    assert found[-1]["kind"] == "end"
    assert rest
    if name in KERNELS:
        assert len(rest) % (3 * cores + 1) == 0
        assert of(rest, "kernel", "name") == [(name,)] * len(rest)
    elif name in STEPS + PARTS:
        assert len(rest) % cores == 0
        assert of(rest, "step", "name") == [(name,)] * len(rest)
    else:
        assert len(rest) % cores == 0
        assert of(rest, "attention", "kv", "d_head", "group") == [("int8", 80, 3)] * len(rest)


CALLS = {
    "uniform-4": 40 * 96,
    "raw-f16": 48 * 64,
    "norm": 2048,
    "swiglu": 5632,
    "softmax": 512,
    "attend-f16-64-4": 512,
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_counted_and_not_timed(program: list[str], kernels: Path, name: str) -> None:
    tokens = 5 if name in KERNELS else 1
    words = ["--only", name, "--calls", 3, *(["--tokens", tokens] if name in KERNELS else [])]
    done = run(program, "measure", kernels, *words)
    expected = {"kind": "calls", "name": name, "weights": CALLS[name], "tokens": tokens, "calls": 3}
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(json.loads(done.stdout).items()) == list(expected.items())


@pytest.mark.parametrize("target", [p for p in EVERY_TARGET if p.values != ("native",)])
def test_on_other_machines(target: str, kernels: Path, tmp_path: Path) -> None:
    """Times of an emulator mean nothing, but all lines are there."""
    tools = [TARGETS[target].compiler, *TARGETS[target].emulator[:1]]
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing and not IN_CI:
        pytest.skip(f"measure for {target} NOT TESTED: no {', '.join(missing)} on this machine")
    assert not missing, f"{missing} must be installed in CI"
    found = lines(build(target, tmp_path), kernels, *SHORT, "--threads", "1,2")
    assert {line["kind"] for line in found} == set(KEYS)
    assert {name for (name,) in of(found, "kernel", "name")} == set(KERNELS)
    assert TARGETS[target].sets <= set(found[0]["instruction_sets"])


USAGE = {
    "--calls 3": "--calls: of what is missing",
    "--only nothing": "--only: nothing",
    "--only vector": "--only: vector",
    "--only attend-f32-64-1": "--only: attend-f32-64-1",
    "--only attend-f16-64-0": "--only: attend-f16-64-0",
    "--only attend-f16-2048-1": "--only: attend-f16-2048-1",
    "--only attend-f16-64-4x --calls 1": "--only: attend-f16-64-4x",
    "--only norm --calls 1 --tokens 2": "--tokens: 2 of a step, which takes one",
    "--calls 0": "--calls: 0",
    "--tokens 513": "--tokens: 513",
    "--seconds 0": "--seconds: 0",
    "--threads 1,x": "--threads: 1,x",
    "--threads 65": "--threads: 65",
}


@pytest.mark.parametrize("words", USAGE)
def test_mistakes_of_usage(program: list[str], kernels: Path, words: str) -> None:
    done = run(program, "measure", kernels, *words.split())
    said = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout, said[0]) == (2, b"", f"error: {USAGE[words]}")
    assert len(said) == 2
    assert said[1].startswith("hint: ")


def test_containers_that_cannot_be_measured(program: list[str], tmp_path: Path) -> None:
    vector = EncodedTensor(RawFormat("f16"), (4,), {"raw": np.ones(4, np.float16)})
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(GOLDEN.read_bytes()[:-40])
    reasons = {
        container(tmp_path / "vector.gguf", {"vector": vector}): "no matrix in it",
        broken: "the file ends before something it declares",
    }
    for path, reason in reasons.items():
        done = run(program, "measure", path)
        said = done.stderr.decode().splitlines()
        assert (done.returncode, done.stdout, said[0]) == (1, b"", f"error: {path}: {reason}")
        assert len(said) == 2


def test_a_model_is_measured_too(program: list[str]) -> None:
    """Tensors of several codecs, critical columns and permutations: every product runs."""
    found = lines(program, GOLDEN, *SHORT, "--threads", "1")
    names = {name for (name,) in of(found, "kernel", "name")}
    assert {"split.a", "split.b", "trellis.d", "shared.a"} <= names


def test_an_interrupt_ends_it(program: list[str], kernels: Path) -> None:
    command = [*program, "measure", str(kernels), "--seconds", "600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as measuring:
        assert measuring.stdout is not None
        while b'"bandwidth"' not in measuring.stdout.readline():
            continue
        measuring.send_signal(signal.SIGINT)
        rest, errors = measuring.communicate(timeout=60)
    assert (measuring.returncode, errors) == (130, b"")
    assert b'"end"' not in rest


def test_nobody_listens(program: list[str], kernels: Path) -> None:
    command = [*program, "measure", str(kernels), *SHORT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as measuring:
        assert measuring.stdout is not None
        measuring.stdout.readline()
        measuring.stdout.close()
        measuring.stdout = None
        _, errors = measuring.communicate(timeout=60)
    assert (measuring.returncode, errors) == (0, b"")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    text = b"error: standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, text)
