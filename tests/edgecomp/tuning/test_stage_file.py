"""Files of finished stages: what they hold comes back, and damage shows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgecomp.tuning.stage_file import StageError, is_whole, read_stage, write_stage

TENSORS = {
    "codes": torch.arange(12, dtype=torch.uint8).reshape(3, 4),
    "a scalar": torch.tensor(0.5),
    "nothing": torch.zeros(0, 3),
    "numbers": torch.linspace(-1, 1, 7, dtype=torch.float64),
    "places": torch.tensor([[3, -1]], dtype=torch.int16),
}
META = {"index": '["a", 1]', "share": "kind"}


def test_contents_come_back_and_give_the_same_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        write_stage(TENSORS, META, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert is_whole(paths[0])
    stage = read_stage(paths[0])
    assert stage.meta == META
    assert stage.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert stage.tensors[name].dtype == tensor.dtype
        assert torch.equal(stage.tensors[name], tensor)


def test_any_damaged_byte_shows(tmp_path: Path) -> None:
    path = tmp_path / "stage"
    write_stage(TENSORS, META, path)
    whole = path.read_bytes()
    for i in range(len(whole)):
        if whole[i] == ord(" "):
            continue  # the padding of the header, which says nothing
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 4]) + whole[i + 1 :])
        assert not is_whole(path), i
    for cut in (0, 5, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert not is_whole(path)
    path.write_bytes(whole + b"xx")
    with pytest.raises(StageError, match="stage"):
        read_stage(path)


def test_a_missing_file_is_no_finished_stage(tmp_path: Path) -> None:
    assert not is_whole(tmp_path / "stage")
