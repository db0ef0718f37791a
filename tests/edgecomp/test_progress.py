"""Progress lines: what a step says, and how often."""

from __future__ import annotations

import pytest

from edgecomp import progress
from edgecomp.progress import Clock, LinePrinter, Step, describe, duration, show_progress


def test_steps_as_text() -> None:
    step = Step("encode", "w", 3, 12, 1_000_000, 4_000_000)
    assert describe(step, 500_000) == "3/12 tensors, 1.0/4.0 MB, 0.5 MB/s, 6 s left"
    assert describe(step, 0) == "3/12 tensors, 1.0/4.0 MB, 0.0 MB/s"
    assert (
        describe(Step("evaluate", "", 8, 64, unit="windows"), 0.5)
        == "8/64 windows, 0.5/s, 1:52 left"
    )
    assert describe(Step("evaluate", "", 64, 64, unit="windows"), 0.5) == "64/64 windows, 0.5/s"
    assert [duration(s) for s in (0, 59, 60, 3599, 3600)] == [
        "0 s", "59 s", "1:00", "59:59", "1:00:00",
    ]  # fmt: skip


class FakeTime:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(progress, "time", fake)
    return fake


def test_lines_come_every_ten_seconds_and_at_the_end(
    clock: FakeTime, capsys: pytest.CaptureFixture[str]
) -> None:
    show = LinePrinter()
    for done in range(0, 101):
        clock.now = 100.0 + done / 4
        show(Step("encode", "w", done, 100, done * 1000, 100_000))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("/")[0] for line in lines] == ["encode: 40", "encode: 80", "encode: 100"]


def test_rate_leaves_out_what_was_there_before(
    clock: FakeTime, capsys: pytest.CaptureFixture[str]
) -> None:
    show = LinePrinter()
    show(Step("encode", "w", 5, 10, 5_000_000, 10_000_000))
    clock.now += 10
    show(Step("encode", "w", 6, 10, 6_000_000, 10_000_000))
    assert capsys.readouterr().err == (
        "encode: 6/10 tensors, 6.0/10.0 MB, 0.1 MB/s, 40 s left, w\n"
    )


def test_rate_starts_again_with_the_stage(clock: FakeTime) -> None:
    timer = Clock()
    rates = []
    for done in (0, 30, 60, 0, 10):
        rates.append(timer.rate(Step("write", "", 1, 1, done, 60)))
        clock.now += 10
    assert rates == [0, 3, 3, 0, 1]


def test_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    with show_progress() as show:
        show(Step("encode", "layer.weight", 1, 2, 10, 20))
        show(Step("encode", "layer.weight", 2, 2, 20, 20))
        show(Step("write", "", 2, 2, 5, 20))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2/2 tensors" in captured.err


def test_last_line_comes_once(clock: FakeTime, capsys: pytest.CaptureFixture[str]) -> None:
    """The last tensor's bytes are all read before the tensor is done."""
    show = LinePrinter()
    for items, done in ((0, 0), (0, 50), (0, 100), (1, 100)):
        show(Step("encode", "w", items, 1, done, 100))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("encode: 1/1 tensors")
