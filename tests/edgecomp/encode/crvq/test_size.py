"""Counted bits: the table of the paper's accounting, and the parts of a real tensor."""

from __future__ import annotations

import numpy as np
import pytest

from edgecomp.encode.crvq.size import critical_groups, paper_bits
from edgecomp.encode.settings import CrvqSettings
from exporters.gguf.sizes import table_bytes, tensor_bytes
from runtime_ops.formats import ColumnsFormat, CrvqFormat
from tests.edgecomp.encode.crvq.one_matrix import encode_matrix

Shapes = list[tuple[int, int]]
ALIGNMENT = 32  # bytes that parts and tables of a file are padded to


def llama(width: int, inner: int, narrow: int) -> Shapes:
    """Linears of a block: query and output, key and value, gate and up, down."""
    return [(width, width)] * 2 + [(narrow, width)] * 2 + [(inner, width)] * 2 + [(width, inner)]


def opt(width: int) -> Shapes:
    """Linears of a block of OPT."""
    return [(width, width)] * 4 + [(4 * width, width), (width, 4 * width)]


# Bits per weight without critical columns, then (extended, critical) = (3, 2 %), (3, 5 %), (1, 2 %)
PUBLISHED = {
    "Llama-2-7B": (llama(4096, 11008, 4096), (1.0045, 1.0665, 1.1548, 1.0252)),
    "Llama-2-13B": (llama(5120, 13824, 5120), (1.0034, 1.0624, 1.1554, 1.0231)),
    "OPT-1.3B": (opt(2048), (1.0098, 1.0801, 1.1650, 1.0332)),
    "Llama-3.2-1B": (llama(2048, 8192, 512), (1.0100, 1.0799, 1.1643, 1.0333)),
    "Qwen2.5-0.5B": (llama(896, 4864, 128), (1.0290, 1.1304, 1.2132, 1.0628)),
    "OPT-125M": (opt(768), (1.0434, 1.1658, 1.2595, 1.0842)),
    "SmolLM2-135M": (llama(576, 1536, 192), (1.0883, 1.3257, 1.4116, 1.1674)),
}


@pytest.mark.parametrize("model", PUBLISHED)
def test_bits_of_published_models(model: str) -> None:
    """Averages over the linears of a block, to four decimals (crvq.md 2.4)."""
    shapes, expected = PUBLISHED[model]
    weights = sum(rows * columns for rows, columns in shapes)
    found = [
        sum(paper_bits(*shape, 8, 8, extended, critical) for shape in shapes) / weights
        for extended, critical in ((3, 0.0), (3, 0.02), (3, 0.05), (1, 0.02))
    ]
    assert [round(bits, 4) for bits in found] == list(expected)


def test_critical_groups_are_rounded_down() -> None:
    """As published: 10 of 4096 columns at 2 %, none below 400."""
    assert [critical_groups(n, 8, 0.02) for n in (4096, 11008, 576, 400, 399)] == [10, 27, 1, 1, 0]
    assert critical_groups(64, 8, 1.0) == 8


def padding(n_bytes: int) -> int:
    """Bytes that follow so many in a file."""
    return -n_bytes % ALIGNMENT


@pytest.mark.parametrize(
    ("shape", "dim", "bits", "extended", "critical"),
    [
        ((48, 96), 8, 8, 3, 0.1),
        ((48, 96), 8, 8, 1, 1.0),
        ((33, 100), 8, 8, 2, 0.0),  # the last group is not full
        ((33, 100), 8, 8, 3, 0.5),
        ((16, 64), 4, 4, 2, 0.25),
    ],
)
def test_a_tensor_is_counted_to_the_byte(
    shape: tuple[int, int], dim: int, bits: int, extended: int, critical: float
) -> None:
    """What the paper counts, and by itself what it does not: order, factor, padding."""
    weights = np.random.default_rng(1).normal(0, 0.02, shape).astype(np.float32)
    settings = CrvqSettings(
        dim, bits, extended, critical, allocation="even", codebook_dtype="int16", sweeps=0
    )
    tensor = encode_matrix(weights, settings)
    counted, rest = divmod(paper_bits(*shape, dim, bits, extended, critical), 8)
    assert rest == 0
    fmt = tensor.format.rest if isinstance(tensor.format, ColumnsFormat) else tensor.format
    assert isinstance(fmt, CrvqFormat)
    books = len(fmt.codebooks.data)
    parts = {name: part.nbytes for name, part in tensor.parts.items()}
    assert parts["params"] == 4
    assert sum(parts.values()) - parts["params"] + books == counted

    order = 2 * shape[1] if isinstance(tensor.format, ColumnsFormat) else 0
    assert (order > 0) == (critical_groups(shape[1], dim, critical) > 0)
    stored = tensor_bytes(tensor.format, shape) + table_bytes([tensor.format])
    padded = sum(map(padding, [*parts.values(), books, order]))
    assert stored == counted + parts["params"] + order + padded
