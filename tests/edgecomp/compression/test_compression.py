"""Compression: the same bytes every time, resumed after any end, nothing half done."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecomp.checkpoint import CheckpointError, open_checkpoint
from edgecomp.compression import (
    Calibration,
    CompressError,
    CompressReport,
    compress_checkpoint,
    job,
    workfolder,
)
from edgecomp.compression.workfolder import work_folder_path
from edgecomp.encode import LatticeSettings, PaperSettings, WeightError, WeightSource, encode
from edgecomp.progress import Step
from exporters.gguf import open_container
from runtime_ops.formats import EncodedTensor
from runtime_ops.native import NativeContainer

LATTICE = LatticeSettings(bits=4.0, group=32)


def compress(folder: Path, out: Path, settings: Any = LATTICE, **callbacks: Any) -> CompressReport:
    return compress_checkpoint(open_checkpoint(str(folder)), settings, out, **callbacks)


class CountedEncode:
    """`encode` that counts its calls and raises `error` at call number `fail_at`."""

    def __init__(self, fail_at: int = 0, error: BaseException | None = None) -> None:
        self.calls = 0
        self.fail_at = fail_at
        self.error = error or KeyboardInterrupt()

    def __call__(self, source: WeightSource, settings: Any, *known: Any) -> EncodedTensor:
        self.calls += 1
        if self.calls == self.fail_at:
            raise self.error
        return encode(source, settings, *known)


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Callable[..., CountedEncode]:
    def install(fail_at: int = 0, error: BaseException | None = None) -> CountedEncode:
        counted = CountedEncode(fail_at, error)
        monkeypatch.setattr(job, "encode", counted)
        return counted

    return install


@pytest.mark.parametrize("settings", [LATTICE, PaperSettings(points=(225,), classes=1)])
def test_container_holds_the_model(tmp_path: Path, tiny: Path, tensors, settings: Any) -> None:
    out = tmp_path / "m.gguf"
    report = compress(tiny, out, settings)
    native = NativeContainer(out.read_bytes())
    assert set(native.names) == set(tensors)
    with open_container(out) as container:
        assert container.verify() == []
        bounds = {entry.name: entry.error_bound for entry in container.tensors}
    for name, array in tensors.items():
        decoded = native.decode(name)
        assert decoded.shape == array.shape
        assert np.abs(decoded - array).max() <= bounds[name] + 1e-7
    assert report.file_bytes == out.stat().st_size
    assert report.n_weights == sum(array.size for array in tensors.values())
    assert report.bpw == 8 * report.file_bytes / report.n_weights
    assert (report.n_tensors, report.resumed_tensors) == (20, 0)
    assert report.encoded_weights == report.n_weights
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf", "tiny"]


def test_same_input_gives_the_same_bytes_however_it_is_stored(
    tmp_path, model_writer, tensors
) -> None:
    one = model_writer(tmp_path / "a" / "m", tensors)
    shards = model_writer(tmp_path / "b" / "m", dict(reversed(tensors.items())), n_shards=3)
    first = compress(one, tmp_path / "1.gguf").sha256
    assert compress(one, tmp_path / "2.gguf").sha256 == first
    assert compress(shards, tmp_path / "3.gguf").sha256 == first
    assert compress(one, tmp_path / "4.gguf", LatticeSettings(bits=4, group=32)).sha256 == first


@pytest.mark.parametrize("fail_at", [1, 2, 20])
def test_interrupted_run_goes_on(tmp_path: Path, tiny: Path, count, fail_at: int) -> None:
    expected = compress(tiny, tmp_path / "whole.gguf").sha256
    out = tmp_path / "m.gguf"
    count(fail_at)
    with pytest.raises(KeyboardInterrupt):
        compress(tiny, out)
    assert not out.exists()
    assert work_folder_path(out).exists() == (fail_at > 1)
    second = count()
    report = compress(tiny, out)
    assert second.calls == 20 - (fail_at - 1)
    assert report.resumed_tensors == fail_at - 1
    assert report.sha256 == expected
    assert not work_folder_path(out).exists()


CHILD = """
import os, signal, sys
from pathlib import Path
from edgecomp.compression import job
from edgecomp.checkpoint import open_checkpoint
from edgecomp.encode import LatticeSettings, encode

calls = 0
def encode_until_killed(source, settings, *known):
    global calls
    calls += 1
    if calls == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(source, settings, *known)

def kill_in_write(step):
    if step.stage == "write" and step.bytes_done:
        os.kill(os.getpid(), signal.SIGKILL)

def kill_in_trial(path):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[3] == "trial":
    Path.unlink = lambda path, missing_ok=False: kill_in_trial(path)
if sys.argv[3] == "encode":
    job.encode = encode_until_killed
job.compress_checkpoint(
    open_checkpoint(sys.argv[1]), LatticeSettings(bits=4.0, group=32), Path(sys.argv[2]),
    kill_in_write,
)
"""


@pytest.mark.parametrize(("stage", "finished"), [("trial", 0), ("encode", 11), ("write", 20)])
def test_killed_run_goes_on_with_its_finished_tensors(
    tmp_path: Path, tiny: Path, count, stage: str, finished: int
) -> None:
    expected = compress(tiny, tmp_path / "whole.gguf").sha256
    out = tmp_path / "m.gguf"
    child = subprocess.run([sys.executable, "-c", CHILD, tiny, out, stage], check=False)
    assert child.returncode == -signal.SIGKILL
    assert not out.exists()
    folder = work_folder_path(out)
    before = {path.name: path.stat() for path in folder.glob("*.gguf")}
    assert len(before) == finished
    seen: dict[str, os.stat_result] = {}

    def look(step: Step) -> None:
        if step.stage == "write" and not seen:
            seen.update({path.name: path.stat() for path in folder.glob("*.gguf")})

    second = count()
    assert compress(tiny, out, progress=look).sha256 == expected
    assert second.calls == 20 - finished
    for name, status in before.items():
        assert (seen[name].st_ino, seen[name].st_mtime_ns) == (status.st_ino, status.st_mtime_ns)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf", "tiny", "whole.gguf"]


def test_link_stays_and_its_file_is_replaced(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link.gguf"
    link.symlink_to(tmp_path / "elsewhere" / "m.gguf")
    report = compress(tiny, link)
    assert link.is_symlink()
    assert report.path == tmp_path / "elsewhere" / "m.gguf"
    assert link.stat().st_size == report.file_bytes


def test_damaged_part_is_made_again(tmp_path: Path, tiny: Path, count) -> None:
    expected = compress(tiny, tmp_path / "whole.gguf").sha256
    out = tmp_path / "m.gguf"
    count(6)
    with pytest.raises(KeyboardInterrupt):
        compress(tiny, out)
    parts = sorted(work_folder_path(out).glob("*.gguf"))
    content = bytearray(parts[0].read_bytes())
    content[-40] ^= 1
    parts[0].write_bytes(content)
    parts[1].write_bytes(b"")
    parts[2].write_bytes(parts[3].read_bytes())
    second = count()
    assert compress(tiny, out).sha256 == expected
    assert second.calls == 15 + 3


@pytest.mark.parametrize("change", ["settings", "touch", "weights", "config"])
def test_other_job_starts_over(tmp_path: Path, model_writer, tensors, count, change: str) -> None:
    tiny = model_writer(tmp_path / "tiny", tensors)
    out = tmp_path / "m.gguf"
    count(6)
    with pytest.raises(KeyboardInterrupt):
        compress(tiny, out)
    settings = LatticeSettings(bits=3.0, group=32) if change == "settings" else LATTICE
    if change == "touch":
        os.utime(tiny / "model.safetensors", (1, 1))
    elif change == "weights":
        model_writer(tiny, {name: array * 2 for name, array in tensors.items()})
    elif change == "config":
        model_writer(tiny, tensors, rope_theta=5.0)
        os.utime(tiny / "model.safetensors", (1, 1))
    notes: list[str] = []
    second = count()
    report = compress(tiny, out, settings, note=notes.append)
    assert second.calls == 20
    assert report.resumed_tensors == 0
    assert any("starting over" in line for line in notes)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.1.mlp.up_proj.weight"])
def test_weights_that_are_not_finite(
    tmp_path, model_writer, tensors, name: str, value: float
) -> None:
    tensors[name].ravel()[3] = value
    folder = model_writer(tmp_path / "bad", tensors)
    out = tmp_path / "m.gguf"
    out.write_text("what was there")
    for settings in (LATTICE, PaperSettings()):
        with pytest.raises(WeightError, match=name):
            compress(folder, out, settings)
    assert out.read_text() == "what was there"
    assert not work_folder_path(out).exists()


def test_failed_write_keeps_finished_tensors(tmp_path: Path, tiny: Path, count) -> None:
    out = tmp_path / "m.gguf"
    count(4, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "part"))
    with pytest.raises(CompressError, match="part: No space left on device") as caught:
        compress(tiny, out)
    assert "3 finished tensors are kept" in caught.value.hint
    assert not out.exists()
    assert compress(tiny, out).resumed_tensors == 3


def test_file_size_limit_leaves_no_output(
    tmp_path: Path, model_writer, tensors: dict[str, NDArray[np.float32]]
) -> None:
    big = {"a.weight": tensors["model.embed_tokens.weight"]}
    big["b.weight"] = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    folder = model_writer(tmp_path / "big", big)
    out = tmp_path / "m.gguf"
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000));"
        "from edgecomp.cli import main; main()"
    )
    command = [sys.executable, "-c", limited, "compress", str(folder), "-o", str(out)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 1
    assert child.stdout == ""
    error, hint = child.stderr.splitlines()[-2:]
    assert error.startswith("error: ")
    assert "File too large" in error
    assert hint.startswith("hint: ")
    assert "1 finished tensors are kept" in hint
    assert not out.exists()
    assert [path.name for path in work_folder_path(out).glob("*.gguf")] == ["000000.gguf"]


def test_full_disk_is_seen_before_any_work(
    tmp_path: Path, tiny: Path, count, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    counted = count()
    with pytest.raises(CompressError, match=r"0\.0 MB free, about 0\.0 MB are needed"):
        compress(tiny, tmp_path / "m.gguf")
    assert counted.calls == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny"]


def test_outputs_that_are_refused(tmp_path: Path, tiny: Path, count) -> None:
    counted = count()
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    (tmp_path / "link").symlink_to(tiny / "model.safetensors")
    for out, reason in (
        (tmp_path, "is a folder"),
        (fifo, "not a regular file"),
        (Path("/dev/null"), "not a regular file"),
        (tmp_path / "missing" / "m.gguf", "no folder"),
        (tmp_path / "link", "a file of the model"),
        (tiny / "model.safetensors", "a file of the model"),
        (tiny / "config.json", "a file of the model"),
    ):
        with pytest.raises(CompressError, match=reason) as caught:
            compress(tiny, out)
        assert caught.value.hint
    assert counted.calls == 0


def test_outputs_that_would_replace_what_is_read(tmp_path: Path, tiny: Path, count) -> None:
    counted = count()
    (tiny / "tokenizer.model").write_bytes(b"pieces")
    for name in ("text.txt", "imatrix.gguf"):
        (tmp_path / name).write_text(name)
    text, imatrix, stats = tmp_path / "text.txt", tmp_path / "imatrix.gguf", tmp_path / "stats"
    (stats / "deeper").mkdir(parents=True)
    (stats / "index.json").write_text("{}")
    (tmp_path / "link").symlink_to(text)
    (tmp_path / "linked").symlink_to(stats)
    os.link(imatrix, tmp_path / "other.gguf")
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    work = work_folder_path(tmp_path / "m.gguf")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for out, read, statistics, reason in (
        (text, text, None, "text.txt is the text"),
        (tmp_path / "link", text, stats, "link is the text"),
        (imatrix, text, imatrix, "imatrix.gguf is the file of the statistics"),
        (tmp_path / "other.gguf", None, imatrix, "is the file of the statistics"),
        (stats / "index.json", None, stats, "lies in the folder of the statistics"),
        (stats / "new.gguf", text, stats, "lies in the folder of the statistics"),
        (stats / "deeper" / "new.gguf", text, stats, "lies in the folder of the statistics"),
        (stats / "new.gguf", text, tmp_path / "linked", "lies in the folder of the statistics"),
        (tiny / "tokenizer.model", circle, circle, "a file of the model"),
        (tmp_path / "m.gguf", work / "text.txt", None, "which is removed when .*m.gguf is"),
        (tmp_path / "m.gguf", text, work / "statistics", "which is removed when .*m.gguf is"),
    ):
        work.mkdir(exist_ok=True)
        with pytest.raises(CompressError, match=reason) as caught:
            compress(tiny, out, calibration=Calibration(read, statistics))
        assert "another output name" in caught.value.hint
    assert counted.calls == 0
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_an_output_beside_what_is_read(tmp_path: Path, tiny: Path) -> None:
    text = tiny / "text.txt"
    text.write_text("words")
    (tiny / "broken.json").symlink_to(tmp_path / "nothing")
    first = compress(tiny, tiny / "m.gguf", calibration=Calibration(text)).sha256
    assert compress(tiny, tiny / "m.gguf", calibration=Calibration(text)).sha256 == first


UNWRITABLE = """
import os, sys
from edgecomp import cli

def main(out):
    sys.argv[1:] = ["compress", sys.argv[2], "-o", out]
    try:
        cli.main()
    except SystemExit as end:
        return end.code

out = sys.argv[-1]
assert main(os.path.join(sys.argv[2], "first.gguf")) == 0  # imports what it needs
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sys.exit(main(out))
"""


def test_unwritable_folder(tiny: Path) -> None:
    """As another user when the tests run as root, who may write anywhere."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)  # pytest's own folders are closed to others
        model, place = folder / "model", folder / "place"
        shutil.copytree(tiny, model)
        place.mkdir(0o555)
        for path in (folder, model, *model.iterdir()):
            path.chmod(0o755)
        command = ["compress", str(model), "-o", str(place / "m.gguf")]
        child = subprocess.run(
            [sys.executable, "-c", UNWRITABLE, *command],
            capture_output=True,
            text=True,
            check=False,
        )
        assert list(place.iterdir()) == []
        assert child.returncode == 1
        assert child.stderr.splitlines()[-2:] == [
            f"error: {place} is not writable",
            "hint: choose another folder",
        ]


def test_full_disk(tmp_path: Path, model_writer, count) -> None:
    """A small disk that fills up while the third tensor is saved; then there is room again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a disk: test_file_size_limit_leaves_no_output stands in")
    try:
        random = np.random.default_rng(0)
        matrices = {f"{c}": random.standard_normal((256, 512), np.float32) for c in "abc"}
        folder = model_writer(tmp_path / "m", matrices)
        out = disk / "m.gguf"
        filler = disk / "other"
        counted = count()
        with pytest.raises(CompressError, match="No space left on device") as caught:
            compress(folder, out, progress=lambda s: fill(filler) if s.items_done == 2 else None)
        assert counted.calls == 3
        assert "2 finished tensors are kept" in caught.value.hint
        assert not out.exists()
        assert not list(disk.rglob("*.tmp"))
        filler.unlink()
        assert compress(folder, out).resumed_tensors == 2
        assert sorted(path.name for path in disk.iterdir()) == ["m.gguf"]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(path: Path) -> None:
    """Writes until the disk is full."""
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_output_beside_the_model_may_be_replaced(tiny: Path) -> None:
    out = tiny / "m.gguf"
    first = compress(tiny, out).sha256
    assert compress(tiny, out).sha256 == first


def test_two_runs_on_one_output(tmp_path: Path, tiny: Path) -> None:
    out = tmp_path / "m.gguf"
    folder = work_folder_path(out)
    folder.mkdir()
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(CompressError, match="another run is writing"):
        compress(tiny, out)
    os.close(lock)
    compress(tiny, out)


def test_progress_and_notes(tmp_path: Path, model_writer, tensors, count) -> None:
    head = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"]}
    folder = model_writer(tmp_path / "tied", head)
    (folder / "tokenizer.json").write_text('{"model": {"type": "Other"}}')
    steps: list[Step] = []
    notes: list[str] = []
    report = compress(folder, tmp_path / "m.gguf", progress=steps.append, note=notes.append)
    encoding = [step for step in steps if step.stage == "encode"]
    assert sorted({step.items_done for step in encoding}) == [*range(21)]
    done = [step.bytes_done for step in encoding]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 4 * report.n_weights)
    assert {step.bytes for step in encoding} == {4 * report.n_weights}
    writing = [step for step in steps if step.stage == "write"]
    assert writing[-1].bytes_done == writing[-1].bytes > 0
    assert "lm_head.weight is left out" in notes[0]
    assert "the tokenizer is not stored" in notes[1]
    assert report.notes == tuple(notes)


@pytest.mark.parametrize("settings", [LATTICE, PaperSettings(points=(225, 1600), box=0.01)])
def test_progress_moves_inside_a_tensor(tmp_path: Path, model_writer, settings: Any) -> None:
    weights = np.random.default_rng(0).standard_normal((4096, 768)).astype(np.float32)
    folder = model_writer(tmp_path / "m", {"w": weights * np.float32(0.02)})
    steps: list[Step] = []
    compress(folder, tmp_path / "m.gguf", settings, progress=steps.append)
    inside = [s.bytes_done for s in steps if s.stage == "encode" and s.items_done == 0]
    assert inside == sorted(inside)
    assert len(set(inside)) > 4
    assert inside[-1] <= weights.nbytes
    assert inside[-1] > weights.nbytes / 3


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"rope_theta": math.inf}, "rope_theta is inf, expected a finite"),
        ({"max_position_embeddings": math.nan}, "is nan, expected a finite"),
        ({"vocab_size": 10**30}, "does not fit into a container"),
        ({"x": "y" * (1 << 24)}, "does not fit into a container"),
        ({"model_type": "\ud800"}, "not valid Unicode"),
    ],
)
def test_metadata_is_judged_before_anything_is_encoded(
    tmp_path: Path, model_writer, tensors, count, config: Any, reason: str
) -> None:
    folder = model_writer(tmp_path / "m", tensors, **config)
    counted = count()
    with pytest.raises((CheckpointError, CompressError), match=reason) as caught:
        compress(folder, tmp_path / "m.gguf")
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert counted.calls == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


@pytest.mark.parametrize(
    "tokenizer",
    [
        "{",
        '{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": '
        '{"type": "ByteLevel", "add_prefix_space": false}}',
        '{"model": {"type": "Unigram", "vocab": [["a", NaN]]}}',
        '{"model": {"type": "WordPiece", "vocab": {"\\ud800": 0}}}',
    ],
)
def test_tokenizer_that_does_not_fit_is_a_note(
    tmp_path: Path, tiny: Path, count, tokenizer: str
) -> None:
    (tiny / "tokenizer.json").write_text(tokenizer)
    notes: list[tuple[int, str]] = []
    counted = count()
    out = tmp_path / "m.gguf"
    compress(tiny, out, note=lambda line: notes.append((counted.calls, line)))
    assert [calls for calls, _ in notes] == [0]
    assert "the tokenizer is not stored: " in notes[0][1]
    with open_container(out) as container:
        assert container.tokenizer == {}
        assert container.model["vocab_size"] == 40


def test_output_is_on_the_disk_before_the_parts_go(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "m.gguf"
    synced: list[tuple[str, bool, bool]] = []

    def sync(path: Path) -> None:
        synced.append((path.name, out.exists(), work_folder_path(out).exists()))

    monkeypatch.setattr(job, "sync_folder", sync)
    monkeypatch.setattr(workfolder, "sync_folder", sync)
    compress(tiny, out)
    folder = work_folder_path(out).name
    assert synced == [(folder, False, True)] * 21 + [(tmp_path.name, True, True)]


def test_name_too_long_for_a_container(tmp_path: Path, model_writer, tensors, count) -> None:
    counted = count()
    folder = model_writer(tmp_path / "m", {"w" * 300: tensors["model.norm.weight"]})
    with pytest.raises(CompressError, match="does not fit into a container"):
        compress(folder, tmp_path / "m.gguf")
    assert not (tmp_path / "m.gguf").exists()
    assert counted.calls == 0


def test_work_folder_that_is_not_ours_is_left_alone(tiny: Path, tmp_path: Path) -> None:
    """A link, or a folder with other files: refused, and nothing in it is touched."""
    out, home = tmp_path / "v.gguf", tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("x")
    work_folder_path(out).symlink_to(home)
    settings = LatticeSettings(bits=4.0, group=32)
    with pytest.raises(CompressError, match="not a work folder"):
        compress_checkpoint(open_checkpoint(str(tiny)), settings, out)
    assert [file.name for file in home.iterdir()] == ["thesis.txt"]
    work_folder_path(out).unlink()
    home.rename(work_folder_path(out))
    with pytest.raises(CompressError, match="not a work folder"):
        compress_checkpoint(open_checkpoint(str(tiny)), settings, out)
    assert [file.name for file in work_folder_path(out).iterdir()] == ["thesis.txt"]
    (work_folder_path(out) / "thesis.txt").unlink()
    (work_folder_path(out) / "job.json").write_bytes(b"\xff\x00")  # of no job: started over
    assert compress_checkpoint(open_checkpoint(str(tiny)), settings, out).resumed_tensors == 0
    assert not work_folder_path(out).exists()


def test_output_keeps_who_may_read_it(tiny: Path, tmp_path: Path) -> None:
    """An output that exists keeps its permissions."""
    out = tmp_path / "v.gguf"
    out.touch(mode=0o600)
    compress_checkpoint(open_checkpoint(str(tiny)), LatticeSettings(bits=4.0, group=32), out)
    assert out.stat().st_mode & 0o777 == 0o600
