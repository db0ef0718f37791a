"""llama.cpp's imatrix: written, read back, read as llama.cpp lays it out, and hostile files."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecomp import pipeline
from edgecomp.calibration import CalibrateSettings, CalibrationError, open_statistics
from edgecomp.calibration.imatrix import ggml_names
from edgecomp.checkpoint import open_checkpoint

Arrays = dict[str, NDArray[np.generic]]
UP = "blk.0.ffn_up.weight"
DOWN = "blk.0.ffn_down.weight"
# 5 tokens, x = (1, 0, 2): sums of squares (5, 0, 20).
HAND_MADE: Arrays = {
    f"{DOWN}.in_sum2": np.array([[5, 0, 20]], np.float32),
    f"{DOWN}.counts": np.array([[5]], np.float32),
    f"{UP}.in_sum2": np.array([[8, 16]], np.float32),
    f"{UP}.counts": np.array([[4]], np.float32),
    f"{UP}.in_sum": np.array([[1, -3]], np.float32),  # newer versions write plain sums as well
}


def write(path: Path, arrays: Arrays, kind: str = "imatrix", arch: bool = False) -> Path:
    """A GGUF file as llama.cpp lays an imatrix out, by gguf's own writer."""
    writer = gguf.GGUFWriter(path, "llama")
    if not arch:  # llama.cpp writes none
        del writer.kv_data[0]["general.architecture"]
    writer.add_type(kind)
    writer.add_array("imatrix.datasets", ["wiki.train.raw", "code.txt"])
    writer.add_uint32("imatrix.chunk_count", 7)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_file_of_llama_cpp(tmp_path: Path) -> None:
    statistics = open_statistics(write(tmp_path / "imatrix.gguf", HAND_MADE))
    assert statistics.tensors == (DOWN, UP)
    assert (statistics.tokens, statistics.windows) == (5, 7)
    assert statistics.diagonal(DOWN).tolist() == [1, 0, 4]
    assert statistics.diagonal(UP).tolist() == [2, 4]
    assert statistics.diagonal(UP).dtype == np.float32
    assert statistics.site(UP).columns == 2
    with pytest.raises(CalibrationError, match="is an imatrix, which holds only the diagonal"):
        statistics.hessian(UP)
    with pytest.raises(CalibrationError, match=r"has no statistics for tensor output\.weight"):
        statistics.diagonal("output.weight")
    with_architecture = open_statistics(write(tmp_path / "a.gguf", HAND_MADE, arch=True))
    assert with_architecture.diagonal(DOWN).tolist() == [1, 0, 4]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2", "gpt_neox", "phi"])
def test_round_trip(
    architecture: str, tiny_model: Callable[[str], Path], text: Path, tmp_path: Path
) -> None:
    model, path = tiny_model(architecture), tmp_path / "imatrix.gguf"
    settings = CalibrateSettings(windows=6, context=16, device="cpu", imatrix=path)
    notes: list[str] = []
    report = pipeline.calibrate(model, text, tmp_path / "stats", settings, note=notes.append)
    assert report.imatrix == path
    assert notes == []
    checkpoint = open_checkpoint(str(model))
    whole = open_statistics(tmp_path / "stats", checkpoint)
    found = open_statistics(path, checkpoint)
    head = whole.sites[-1].tensors
    assert set(found.tensors) == set(whole.tensors) - set(head)
    assert (found.tokens, found.windows) == (96, 6)
    for name in found.tensors:
        # Times and divided by the number of tokens, rounded to float32 each time.
        np.testing.assert_allclose(found.diagonal(name), whole.diagonal(name), rtol=2.0**-23)
    by_ggml_name = open_statistics(path)
    assert all(name.startswith("blk.") for name in by_ggml_name.tensors)
    first = found.tensors[0]
    assert np.array_equal(
        by_ggml_name.diagonal(ggml_names(checkpoint)[first]), found.diagonal(first)
    )


def test_what_llama_cpp_reads(llama: Path, text: Path, tmp_path: Path) -> None:
    """Keys, names, types, sides and order of the file that is written, by gguf's own reader."""
    path = tmp_path / "imatrix.gguf"
    settings = CalibrateSettings(windows=6, context=16, device="cpu", imatrix=path)
    pipeline.calibrate(llama, text, tmp_path / "stats", settings)
    reader = gguf.GGUFReader(path)
    keys = {name: field.contents() for name, field in reader.fields.items()}
    assert {name: value for name, value in keys.items() if not name.startswith("GGUF.")} == {
        "general.type": "imatrix",
        "imatrix.datasets": ["text.txt"],
        "imatrix.chunk_count": 6,
        "imatrix.chunk_size": 16,
    }
    assert keys["GGUF.version"] == 3
    names = [tensor.name for tensor in reader.tensors]
    assert len(names) == 2 * 3 * 7
    assert [name for name in names if name.endswith(".in_sum2")] == sorted(names[::2])
    assert names[1::2] == [name.replace(".in_sum2", ".counts") for name in names[::2]]
    statistics = open_statistics(tmp_path / "stats")
    for tensor in reader.tensors:
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        if tensor.name == f"{DOWN}.in_sum2":
            assert tensor.shape.tolist() == [24, 1]
            mean = statistics.diagonal("model.layers.0.mlp.down_proj.weight")
            assert np.array_equal(tensor.data[0], (mean.astype(np.float64) * 96).astype("f4"))
        elif tensor.name == f"{DOWN}.counts":
            assert tensor.shape.tolist() == [1, 1]
            assert tensor.data.tolist() == [[96]]
    before = path.read_bytes()
    pipeline.calibrate(llama, text, tmp_path / "stats", settings)
    assert path.read_bytes() == before


def refused(path: Path) -> str:
    """The one line that opening a file fails with."""
    with pytest.raises(CalibrationError) as caught:
        open_statistics(path)
    assert caught.value.hint
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({f"{UP}.counts": None}, "comes without .counts"),
        ({f"{UP}.in_sum2": np.array([[1, np.nan]], np.float32)}, "no sum of squares"),
        ({f"{UP}.in_sum2": np.array([[1, -1]], np.float32)}, "no sum of squares"),
        ({f"{UP}.counts": np.array([[0]], np.float32)}, "has read 0.0 tokens"),
        ({f"{UP}.counts": np.array([[np.nan]], np.float32)}, "has read nan tokens"),
        ({f"{UP}.in_sum2": np.ones((1, 2), np.float16)}, "has type 1, expected 0"),
        ({f"{UP}.in_sum2": np.ones((3, 2), np.float32)}, "has 3 experts"),
        ({f"{UP}.counts": np.ones((2, 1), np.float32)}, "has 2 experts"),
        (dict.fromkeys([name for name in HAND_MADE if "sum2" in name]), "holds no sums"),
    ],
)
def test_wrong_tensors(
    change: dict[str, NDArray[np.generic] | None], expected: str, tmp_path: Path
) -> None:
    arrays = {name: value for name, value in (HAND_MADE | change).items() if value is not None}
    assert expected in refused(write(tmp_path / "imatrix.gguf", arrays))


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "imatrix.gguf"
    assert "general.type is 'adapter'" in refused(write(path, HAND_MADE, kind="adapter"))
    path.write_bytes(struct.pack("<i", 2) + b"legacy imatrix of llama.cpp" * 10)
    assert "does not start with GGUF" in refused(path)
    path.write_bytes(b"")
    assert "0 bytes" in refused(path)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 1, 0, 0))
    assert "GGUF version 1" in refused(path)


@pytest.mark.parametrize("n_tensors", [1 << 63, 1 << 20])
@pytest.mark.parametrize("n_keys", [0, 1 << 63])
def test_huge_counts(n_tensors: int, n_keys: int, tmp_path: Path) -> None:
    path = tmp_path / "imatrix.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, n_tensors, n_keys) + bytes(100))
    assert "is not an imatrix" in refused(path)


def test_huge_arrays(tmp_path: Path) -> None:
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k"
    path = tmp_path / "imatrix.gguf"
    for kind in (0, 8, 9, 12, 99):
        path.write_bytes(head + struct.pack("<IIQ", 9, kind, 1 << 62) + bytes(100))
        assert "is not an imatrix" in refused(path)


def test_truncated_anywhere(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.gguf", HAND_MADE).read_bytes()
    end = whole.rindex(np.array([1, -3], "<f4").tobytes())  # what follows is not read
    path = tmp_path / "cut.gguf"
    for size in range(end - 32):
        path.write_bytes(whole[:size])
        assert "is not an imatrix" in refused(path)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    """Any bytes are read as numbers that make sense, or refused."""
    raw = bytearray(write(tmp_path / "whole.gguf", HAND_MADE).read_bytes())
    for at, value in changes:
        raw[at % len(raw)] = value
    path = tmp_path / "changed.gguf"
    path.write_bytes(raw)
    try:
        statistics = open_statistics(path)
    except CalibrationError:
        return
    assert statistics.tokens > 0
    for name in statistics.tensors:
        assert np.isfinite(statistics.diagonal(name)).all()
        assert statistics.diagonal(name).min() >= 0


def test_the_imatrix_of_another_model(llama: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(llama))
    path = write(tmp_path / "imatrix.gguf", HAND_MADE)
    with pytest.raises(CalibrationError, match=r"3 columns for tensor .*down_proj.weight, which"):
        open_statistics(path, checkpoint)
    renamed = {name.replace("blk.0", "blk.77"): array for name, array in HAND_MADE.items()}
    with pytest.raises(CalibrationError, match="has no tensor of llama"):
        open_statistics(write(path, renamed), checkpoint)


def test_architectures_that_llama_cpp_does_not_have(
    tiny_model: Callable[[str], Path], text: Path, tmp_path: Path
) -> None:
    settings = CalibrateSettings(imatrix=tmp_path / "imatrix.gguf", device="cpu")
    with pytest.raises(CalibrationError, match=r"llama\.cpp has no architecture opt"):
        pipeline.calibrate(tiny_model("opt"), text, tmp_path / "stats", settings)
    assert not (tmp_path / "stats").exists()


def test_the_output_cannot_be_written(llama: Path, text: Path, tmp_path: Path) -> None:
    for path, expected in (
        (tmp_path, "is not a regular file"),
        (tmp_path / "no" / "imatrix.gguf", "no folder"),
        (tmp_path / "stats" / "imatrix.gguf", "lies in the folder of the statistics"),
    ):
        settings = CalibrateSettings(imatrix=path, device="cpu")
        with pytest.raises(CalibrationError, match=expected):
            pipeline.calibrate(llama, text, tmp_path / "stats", settings)
    assert not (tmp_path / "stats").exists()


def test_full_disk_leaves_the_old_imatrix(
    llama: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "imatrix.gguf"
    path.write_bytes(b"before")
    settings = CalibrateSettings(windows=2, context=16, device="cpu", imatrix=path)

    def refuse(writer: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", refuse)
    with pytest.raises(CalibrationError, match=r"imatrix\.gguf: No space left on device"):
        pipeline.calibrate(llama, text, tmp_path / "stats", settings)
    assert path.read_bytes() == b"before"
    assert not list(tmp_path.glob(".*.tmp"))
