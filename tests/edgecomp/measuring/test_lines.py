"""Lines of a measurement: what is understood, and that nothing else gets through."""

from __future__ import annotations

import json
import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.profile import Profile
from edgecomp.measuring.errors import MeasureError
from edgecomp.measuring.lines import Clock, End, Line, Machine, gather, read_line
from edgecomp.measuring.profile_from import About, profile_from
from tests.edgecomp.measuring.recorded import WIDTHS, recorded, recorded_lines

ABOUT = About("Board", "board", "", "2026-11-23")


def understood(lines: list[str]) -> Profile:
    return profile_from(gather(map(read_line, lines)), ABOUT, WIDTHS)


def test_every_kind_is_read() -> None:
    found = gather(map(read_line, recorded_lines()))
    assert found.machine.cores[0].part == "0x41:0xd0b"
    assert len(found.clocks) == 3
    assert len(found.bandwidth) == 3
    assert len(found.dispatch) == 2
    assert len(found.kernels) == 2 * 9 + 6
    assert len(found.steps) == 14
    assert len(found.attention) == 8
    assert found.seconds == 40.5


def test_what_may_be_missing_is_nothing() -> None:
    line = read_line('{"kind": "clock", "seconds": 0, "core": 1, "hz": 1e9, "more": []}')
    assert line == Clock(seconds=0, core=1, hz=1e9, millidegrees=None)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "Killed", '{"kind": "clock"}', '{"kind": "x"}', '{"seconds": 1}',
        '{"kind": "end", "seconds": "1"}', '{"kind": "end", "seconds": 0}', "[" * 9000,
        '{"kind": "end", "seconds": -1}', '{"kind": "end", "seconds": 1e999}', "\ud800",
        '{"kind": "end", "seconds": NaN}', '{"kind": "end", "seconds": 1} {}', "\0", "{}" * 40,
    ],
)  # fmt: skip
def test_other_lines_are_refused(text: str) -> None:
    with pytest.raises(MeasureError, match="cannot be understood") as caught:
        read_line(text)
    assert caught.value.hint
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[1:], "begin"),
        (lambda lines: lines[:-1], "broke off"),
        (lambda lines: [], "begin"),
        (lambda lines: lines + lines, "begin"),
        (lambda lines: [*lines, lines[1]], "broke off"),
        (lambda lines: [*lines, lines[-1]], "broke off"),
    ],
)
def test_order(change: object, message: str) -> None:
    lines: list[Line] = [read_line(line) for line in recorded_lines()]
    assert callable(change)
    with pytest.raises(MeasureError, match=message):
        gather(change(lines))


def test_a_machine_without_cores_is_refused() -> None:
    machine = recorded()[0] | {"cores": []}
    with pytest.raises(MeasureError):
        read_line(json.dumps(machine))
    assert isinstance(read_line(json.dumps(recorded()[0])), Machine)
    assert isinstance(read_line(json.dumps(recorded()[-1])), End)


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_truncated_streams_give_no_profile(cut: int) -> None:
    """However a stream is cut off, in a line or between two, what is left is refused."""
    text = "\n".join(recorded_lines())
    with pytest.raises(MeasureError):
        understood(text[: cut % len(text)].splitlines())


@given(st.integers(0, 1 << 32), st.integers(1, 6))
@settings(max_examples=150, deadline=None)
def test_corrupted_streams_end_well(seed: int, damages: int) -> None:
    """A profile that passes its checks, or MeasureError; never anything else."""
    chance = random.Random(seed)
    fields = recorded()
    for _ in range(damages):
        which = chance.randrange(len(fields))
        key = chance.choice(sorted(fields[which]) or ["kind"])
        match chance.randrange(4):
            case 0:
                del fields[which]
            case 1:
                fields.insert(chance.randrange(len(fields)), fields[which])
            case 2:
                value = chance.choice((0, -1, 1e-300, 1e14, 2**70, None, "", [], True, 3))
                fields[which] = fields[which] | {key: value}
            case _:
                fields[which] = {name: fields[which][name] for name in fields[which] if name != key}
    lines = recorded_lines(fields)
    if chance.random() < 0.5:
        which = chance.randrange(len(lines))
        at = chance.randrange(len(lines[which]) or 1)
        letter = chance.choice('09.-e"{}[],:x\0é')
        lines[which] = lines[which][:at] + letter + lines[which][at + 1 :]
    with suppress(MeasureError):
        assert understood(lines).measured is not None
