"""Hidden states in a file: what was written, and whether it was written to its end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgecomp.calibration import CalibrationError
from edgecomp.calibration.hidden import HiddenStates, HiddenWriter


def states_in(folder: Path) -> HiddenStates:
    return HiddenStates(folder / "hidden.f32", windows=5, context=3, columns=4)


def written(folder: Path) -> tuple[HiddenStates, torch.Tensor]:
    values = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    states = states_in(folder)
    with HiddenWriter(states) as writer:
        writer.write(values[:2])
        writer.write(values[2:])
    return states, values


def test_windows_come_back(tmp_path: Path) -> None:
    states, values = written(tmp_path)
    assert states.is_complete()
    assert [len(part) for part in states.batches(2)] == [2, 2, 1]
    assert torch.equal(torch.cat(list(states.batches(2))), values)
    assert torch.equal(states.pick([4, 0, 4]), values[[4, 0, 4]])


def test_a_file_is_complete_when_it_was_written_to_its_end(tmp_path: Path) -> None:
    """Room is taken at once, so a writer that was killed leaves a file of zeros."""
    states, values = written(tmp_path)
    writer = HiddenWriter(states)
    writer.write(values[:4])
    writer.file.flush()
    assert states.path.stat().st_size >= states.n_bytes
    assert not states.is_complete()
    writer.file.close()
    with pytest.raises(ZeroDivisionError), HiddenWriter(states):
        _ = 1 / 0
    assert not states.is_complete()


def test_a_file_that_ends_early_is_an_error(tmp_path: Path) -> None:
    states, _ = written(tmp_path)
    states.path.write_bytes(states.path.read_bytes()[: states.n_bytes - 9])
    assert not states.is_complete()
    with pytest.raises(CalibrationError, match=f"ended early, expected {states.n_bytes} bytes"):
        list(states.batches(2))
    with pytest.raises(CalibrationError, match="ended early"):
        states.pick([4])
