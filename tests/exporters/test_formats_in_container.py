"""Formats in a container: shared tables, formats made of others, their sizes and digests."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from exporters.bundle import ModelBundle, TensorSource
from exporters.gguf import (
    Container,
    ContainerError,
    open_container,
    table_bytes,
    tensor_bytes,
    write_container,
)
from exporters.gguf.format_list import FormatList
from runtime_ops.formats import (
    ColumnsFormat,
    CrvqFormat,
    EncodedTensor,
    Format,
    FormatError,
    RawFormat,
    Table,
    WindingFormat,
)
from tests.exporters.broken import GOLDEN
from tests.exporters.gguf_bytes import take_apart
from tests.exporters.small_container import (
    ADDITIVE,
    BEFORE_TRELLIS,
    CODEBOOKS,
    COMBINED,
    COMPANDED,
    FITTING_NAME,
    LATTICE,
    LONG_NAME,
    MOVED,
    NARROWER,
    ONE_BOOK,
    ORDER,
    PAIRED,
    PAPER,
    QUANTILES,
    REORDERED,
    ROTATED,
    SPLIT,
    TRELLIS,
    WIDE_QUANTILES,
)

F16 = RawFormat("f16")


def zeros(fmt: Format, shape: tuple[int, ...]) -> EncodedTensor:
    """A tensor whose codes and scales are all 0."""
    parts = {spec.name: np.zeros(spec.size, spec.dtype) for spec in fmt.part_specs(shape)}
    return EncodedTensor(fmt, shape, parts)


def written(tensors: list[EncodedTensor], folder: Path) -> bytes:
    """The file of these tensors, which keep their order."""
    sources = tuple(TensorSource(f"w{i:05}", lambda t=t: t) for i, t in enumerate(tensors))
    write_container(ModelBundle("zeros", sources, "{}"), folder / "zeros.gguf")
    return (folder / "zeros.gguf").read_bytes()


def test_formats_come_behind_those_that_they_are_made_of() -> None:
    with open_container(GOLDEN) as container:
        assert container.formats == (
            LATTICE, COMPANDED, PAPER, F16, RawFormat("f32"), ADDITIVE, NARROWER, ONE_BOOK,
            REORDERED, MOVED, SPLIT, TRELLIS, ROTATED, PAIRED, COMBINED, BEFORE_TRELLIS,
        )  # fmt: skip


def test_tables_are_stored_once_in_the_order_of_their_formats() -> None:
    infos = take_apart(GOLDEN.read_bytes()).infos
    assert COMPANDED.table is not None
    sizes = [len(COMPANDED.table), CODEBOOKS.array.size, 4, ORDER.array.size, 16, 32]
    assert [(i.name, i.dims) for i in infos[:6]] == [
        (b"table.%d" % number, [size]) for number, size in enumerate(sizes, 1)
    ]
    with open_container(GOLDEN) as container:
        assert container.metadata["edgecomp.format.5.codebooks"] == 2
        assert container.metadata["edgecomp.format.6.codebooks"] == 2
        assert container.metadata["edgecomp.format.8.permutation"] == 4
        assert container.metadata["edgecomp.format.9.permutation"] == 4
        assert container.metadata["edgecomp.format.11.table"] == 5
        assert container.metadata["edgecomp.format.13.table"] == 5
        assert container.metadata["edgecomp.format.14.permutation"] == 4


def test_tables_with_the_same_bytes_are_one_table() -> None:
    """Whatever they are for: numbers of 16 bits lie in the file without a sign."""
    numbers = np.arange(8)
    order, books, narrow = (Table.of(numbers.astype(t)) for t in (np.uint16, np.int16, np.int8))
    crvq = [CrvqFormat(2, 2, (), (0,), table) for table in (books, narrow)]
    columns = ColumnsFormat(crvq[0], permutation=order)
    winding = WindingFormat(1, 16, (1 << 28,), (0,), 8, 1, False, 1, 0, "bits", tuple(range(8)))
    listed = FormatList([columns, crvq[1], winding])
    assert listed.formats == (crvq[0], columns, crvq[1], winding)
    assert listed.tables == (books, narrow)
    numbers_of = [listed.fields(i) for i in range(4)]
    assert [numbers_of[0]["codebooks"], numbers_of[1]["permutation"]] == [1, 1]
    assert [numbers_of[2]["codebooks"], numbers_of[3]["table"]] == [2, 1]


def test_table_of_two_uses_is_written_and_read(tmp_path: Path) -> None:
    numbers = np.arange(8)
    books, order = Table.of(numbers.astype(np.int16)), Table.of(numbers.astype(np.uint16))
    fmt = ColumnsFormat(CrvqFormat(2, 2, (), (0,), books), permutation=order)
    container = Container(written([zeros(fmt, (3, 8))], tmp_path))
    assert container.formats == (fmt.rest, fmt)
    assert container.verify() == []


def test_file_has_the_sizes_that_were_foretold() -> None:
    """Of all tensors and of all tables, to the byte."""
    with open_container(GOLDEN) as container:
        infos = take_apart(GOLDEN.read_bytes()).infos
        first = next(info for info in infos if not info.name.startswith(b"table."))
        assert table_bytes(container.formats) == first.offset
        assert table_bytes(entry.format for entry in container.tensors) == first.offset
        sizes = [tensor_bytes(entry.format, entry.shape) for entry in container.tensors]
        offsets = container.metadata["edgecomp.tensor.data_offsets"]
        assert offsets == [first.offset + sum(sizes[:i]) for i in range(len(sizes))]
        data = len(take_apart(GOLDEN.read_bytes()).data)
        assert first.offset + sum(sizes) == data
    assert table_bytes([RawFormat(), LATTICE]) == 0
    assert table_bytes([COMPANDED, ADDITIVE, NARROWER, REORDERED]) == 32 + 192 + 32 + 32
    assert table_bytes([COMBINED, TRELLIS]) == 32 + 64 + 32


def test_sizes_of_a_format_that_does_not_fit() -> None:
    with pytest.raises(FormatError, match="permutation of 10, expected 9 columns"):
        tensor_bytes(MOVED, (2, 9))
    with pytest.raises(FormatError, match="3 critical groups, expected at most 1"):
        tensor_bytes(ADDITIVE, (2, 3))
    with pytest.raises(FormatError, match="rotation is 4, expected a divisor of 6 columns"):
        tensor_bytes(ROTATED, (2, 6))


def test_as_many_formats_as_there_may_be(tmp_path: Path) -> None:
    """1024 sets of codebooks, each with its own permutation; one more is refused."""
    tensors = []
    for i in range(1024):
        order = np.roll(np.arange(1024, dtype=np.uint16), i)
        books = Table.of(np.array([i, -i], np.int16))
        rest = CrvqFormat(1, 1, (), (0,), books)
        tensors.append(zeros(ColumnsFormat(rest, permutation=Table.of(order)), (1, 1024)))
    container = Container(written(tensors, tmp_path))
    assert len(container.formats) == 2048
    assert container.tensors[1023].format == tensors[1023].format
    with pytest.raises(ContainerError, match="2049 formats, expected at most 2048"):
        written([*tensors, zeros(F16, (1,))], tmp_path)


def test_digest_is_the_one_of_the_specification() -> None:
    """The layout of docs/format.md, "Digest", written out once more by hand."""
    paper = [2, PAPER.dim, PAPER.points, *PAPER.generator, 0, 0, *PAPER.shift, 0, 0, PAPER.levels,
             PAPER.offset, 1, PAPER.classes, PAPER.group, 1, 0]  # fmt: skip
    fmt = COMPANDED
    companded = [2, fmt.dim, fmt.points, *fmt.generator, *fmt.shift, fmt.levels, fmt.offset, 0,
                 fmt.classes, fmt.group, 0, 1]  # fmt: skip
    table = struct.pack("<16h", *fmt.table or ())
    pad = [0] * 5
    additive = struct.pack("<21I", 3, 4, 3, 1, 3, 0, 1, 1, *pad, 0, 3, 2, *pad)
    additive += CODEBOOKS.data
    narrower = struct.pack("<21I", 3, 4, 3, 1, 3, 7, 0, 2, *pad, 0, 1, 0, *pad)
    narrower += CODEBOOKS.data
    one_book = struct.pack("<21I", 3, 2, 1, 0, 1, 2, *[0] * 15) + ONE_BOOK.codebooks.data
    lattice = struct.pack(
        "<18I", 2, 1, 16, 1 << 28, 0, 0, 0, 1 << 27, 0, 0, 0, 16, 1, 0, 1, 8, 0, 0
    )
    with_table = struct.pack("<18I", *companded) + table
    trellis = struct.pack("<11I", 5, 8, 2, 1, 0, 71, 0, 4, 0, 0, 0) + QUANTILES.data
    rotated = struct.pack("<11I", 5, 12, 3, 1, 5, 2473, 0, 5, 1, 4, (1 << 32) - 1)
    rotated += WIDE_QUANTILES.data
    paired = struct.pack("<11I", 5, 16, 5, 2, 15, 40503, 1, 4, 0, 0, 0) + QUANTILES.data
    expected = {
        LONG_NAME: struct.pack("<18I", *paper) + struct.pack("<I2Q", 2, 3, 7),
        "layers.1.weight": with_table + struct.pack("<I2Q", 2, 4, 6),
        "norm.weight": struct.pack("<I", 1) + struct.pack("<IQ", 1, 5),
        "scalar": struct.pack("<I", 0) + struct.pack("<I", 0),
        "shared.a": additive + struct.pack("<I2Q", 2, 3, 10),
        "split.a": struct.pack("<3I", 4, 3, 10)
        + ORDER.data
        + with_table
        + one_book
        + struct.pack("<I2Q", 2, 3, 10),
        "split.b": struct.pack("<3I", 4, 0, 10)
        + ORDER.data
        + struct.pack("<I", 1)
        + struct.pack("<I3Q", 3, 2, 2, 5),
        FITTING_NAME: struct.pack("<3I", 4, 4, 0)
        + narrower
        + lattice
        + struct.pack("<I2Q", 2, 2, 9),
        "trellis.a": trellis + struct.pack("<I2Q", 2, 17, 6),
        "trellis.b": rotated + struct.pack("<I3Q", 3, 3, 2, 4),
        "trellis.c": paired + struct.pack("<I", 0),
        "trellis.d": struct.pack("<3I", 4, 2, 10)
        + ORDER.data
        + paired
        + rotated
        + struct.pack("<I2Q", 2, 3, 10),
        "trellis.e": struct.pack("<3I", 4, 1, 0) + lattice + trellis + struct.pack("<I2Q", 2, 2, 5),
    }
    container = Container(GOLDEN.read_bytes())
    assert {entry.name for entry in container.tensors} > set(expected)
    for entry in container.tensors:
        if entry.name in expected:
            whole = b"edgecomp" + expected[entry.name] + struct.pack("<f", entry.error_bound)
            for part in container.read(entry.name).parts.values():
                whole += part.tobytes()
            assert entry.sha256 == hashlib.sha256(whole).hexdigest(), entry.name
