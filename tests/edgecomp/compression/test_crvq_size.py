"""A compressed model's bytes, as the paper counts them and as they lie in the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from gguf import GGUFReader

from edgecomp.calibration import CalibrateSettings, calibrate_checkpoint
from edgecomp.checkpoint import Checkpoint, open_checkpoint
from edgecomp.compression import Calibration, compress_checkpoint
from edgecomp.crvq.columns import even_groups
from edgecomp.encode import CrvqSettings, companding
from edgecomp.encode.crvq.size import critical_groups, paper_bits
from exporters.gguf import TensorEntry, open_container, table_bytes, tensor_bytes
from runtime_ops.formats import ColumnsFormat, CrvqFormat
from tests.edgecomp.crvq.small_models import save_small, write_text

ALIGNMENT = 32  # bytes that parts and tables of a file are padded to
PARAMS = 4  # bytes of the scales' common factor, which the paper does not count
Case = tuple[int, int, int, float]  # dim, bits of a code, extended codebooks, critical share
CASES: dict[str, Case] = {
    "as published": (8, 8, 3, 0.27),
    "smaller groups": (4, 4, 2, 0.27),
    "no critical columns": (8, 8, 3, 0.0),
}


@dataclass(frozen=True)
class Compressed:
    """A container, and what it was asked to be."""

    case: Case
    path: Path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Calibration]:
    """A Llama whose linears have 32 and 96 columns, with its statistics."""
    folder = tmp_path_factory.mktemp("model")
    checkpoint = open_checkpoint(str(save_small(folder / "llama")))
    text, statistics = write_text(folder / "text.txt"), folder / "statistics"
    calibrate_checkpoint(checkpoint, text, statistics, CalibrateSettings(512, 32, "cpu"))
    return checkpoint, Calibration(text, statistics, context=32, device="cpu")


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def compressed(
    request: pytest.FixtureRequest,
    model: tuple[Checkpoint, Calibration],
    tmp_path_factory: pytest.TempPathFactory,
) -> Compressed:
    """The Llama without any sharing of codebooks.

    Columns go by their weights, as the 256 codewords of a trial quantisation would be exact for
    matrices of fewer groups, and all columns then equally important.
    """
    checkpoint, calibration = model
    settings = CrvqSettings(
        *request.param, allocation="even", share="tensor", codebook_dtype="int16", finetune="none",
        sweeps=0, importance="weight",
    )  # fmt: skip
    path = tmp_path_factory.mktemp("sizes") / "m.gguf"
    report = compress_checkpoint(checkpoint, settings, path, calibration=calibration)
    assert report.file_bytes == path.stat().st_size
    return Compressed(request.param, path)


def codebooks_of(entry: TensorEntry) -> bytes:
    """The codebook table of a linear."""
    fmt = entry.format.rest if isinstance(entry.format, ColumnsFormat) else entry.format
    assert isinstance(fmt, CrvqFormat)
    return fmt.codebooks.data


def order_of(entry: TensorEntry) -> bytes:
    """The permutation table of a linear; empty where it has none."""
    table = entry.format.permutation if isinstance(entry.format, ColumnsFormat) else None
    return b"" if table is None else table.data


def padded(n_bytes: int) -> int:
    """The next multiple of the alignment."""
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


def test_every_linear_is_what_the_paper_counts(compressed: Compressed) -> None:
    """Its codes, scales and codebooks, to the byte; by themselves what the paper leaves out.

    Sizes are those in the file, read by the gguf package. The paper rounds critical groups down,
    the encoder to the nearest and to one at least; of 32 and 96 columns that is the same at 27 %.
    """
    dim, bits, extended, critical = compressed.case
    for columns in (32, 96):
        n_critical = critical_groups(columns, dim, critical)
        assert critical == 0 or n_critical == even_groups(columns, critical, dim, False) > 0
    sizes = {str(part.name): int(part.n_bytes) for part in GGUFReader(compressed.path).tensors}
    with open_container(compressed.path) as container:
        linears = [entry for entry in container.tensors if "_proj" in entry.name]
        codebooks = [codebooks_of(entry) for entry in linears]
        orders = [order_of(entry) for entry in linears]
    assert len(linears) == len(set(codebooks)) == 14
    for entry, books in zip(linears, codebooks, strict=True):
        rows, columns = entry.shape
        parts = {
            name.removeprefix(f"{entry.name}."): n_bytes
            for name, n_bytes in sizes.items()
            if name.startswith(f"{entry.name}.")
        }
        assert set(parts) == {"codes", "scales", "params"} | ({"extended"} if critical else set())
        assert parts.pop("params") == PARAMS
        counted = paper_bits(rows, columns, dim, bits, extended, critical)
        assert 8 * (sum(parts.values()) + len(books)) == counted
    # Not counted: an order for q, k, v, one for o, one for gate, up; that of down is in their rows.
    distinct = set(orders) - {b""}
    assert [len(order) for order in distinct] == ([2 * 32] * 6 if critical else [])
    assert all((order == b"") == ("down" in entry.name or critical == 0)
               for entry, order in zip(linears, orders, strict=True))  # fmt: skip
    tables = [n_bytes for name, n_bytes in sizes.items() if name.startswith("table.")]
    lattice = sum(tables) - sum(map(len, codebooks)) - sum(map(len, distinct))
    assert lattice == 2 * companding.LEVELS  # the curve of embedding and head, int16


def test_the_file_is_the_sum_of_its_parts(compressed: Compressed) -> None:
    """Metadata, tables and parts, each padded: the file's size to the byte."""
    path = compressed.path
    reader = GGUFReader(path)
    with open_container(path) as container:
        tensors = sum(tensor_bytes(entry.format, entry.shape) for entry in container.tensors)
        tables = table_bytes(entry.format for entry in container.tensors)
    parts = [(int(part.data_offset), int(part.n_bytes)) for part in reader.tensors]
    place = metadata = int(reader.data_offset)
    for offset, n_bytes in parts:  # nothing lies between them
        assert offset == place
        place += padded(n_bytes)
    assert place == path.stat().st_size
    assert metadata % ALIGNMENT == 0
    assert metadata + tables + tensors == path.stat().st_size
