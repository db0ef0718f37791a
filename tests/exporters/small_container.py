"""A small bundle with every kind of tensor, and a broken copy of its file for every check."""

from __future__ import annotations

import numpy as np

from exporters.bundle import ModelBundle, TensorSource
from runtime_ops.formats import (
    ColumnsFormat,
    CrvqFormat,
    EncodedTensor,
    Format,
    RawFormat,
    Table,
    TrellisFormat,
    WindingFormat,
)

GOLDEN_RATIO = 0x9E3779B1
LONG_NAME = "model.layers.0.a_name_that_does_not_fit_into_a_gguf_tensor_name.ä"  # > 63 bytes
FITTING_NAME = "split.with_a_name_that_fits_with_most_parts.only"  # with critical_codes: 63 bytes

PAPER = WindingFormat(
    dim=2, points=225, generator=(1 << 24, GOLDEN_RATIO), shift=(0, 0), levels=1024, offset=0,
    centre=True, classes=3, group=0, packing="radix",
)  # fmt: skip
LATTICE = WindingFormat(
    dim=1, points=16, generator=(1 << 28,), shift=(1 << 27,), levels=16, offset=1,
    centre=False, classes=1, group=8, packing="bits",
)  # fmt: skip
COMPANDED = WindingFormat(
    dim=4, points=4093, generator=(1 << 20, 5, GOLDEN_RATIO, (1 << 32) - 1), shift=(0, 1, 2, 3),
    levels=16, offset=1, centre=False, classes=1, group=12, packing="bits",
    table=(-3000, -1500, -900, -500, -200, -90, -40, -1, 1, 40, 90, 200, 500, 900, 1500, 3000),
)  # fmt: skip
CODEBOOKS = Table.of((np.arange(96, dtype=np.int16) - 48) * 600)
ADDITIVE = CrvqFormat(
    dim=4, code_bits=3, critical_groups=(3, 2), shifts=(0, 1, 1), codebooks=CODEBOOKS
)
NARROWER = CrvqFormat(
    dim=4, code_bits=3, critical_groups=(1, 0), shifts=(7, 0, 2), codebooks=CODEBOOKS
)
ONE_BOOK = CrvqFormat(
    dim=2, code_bits=1, critical_groups=(), shifts=(2,),
    codebooks=Table.of(np.array([-128, -1, 3, 127], np.int8)),
)  # fmt: skip
ORDER = Table.of(np.array([9, 0, 8, 1, 7, 2, 6, 3, 5, 4], np.uint16))
REORDERED = ColumnsFormat(ONE_BOOK, critical=COMPANDED, n_critical=3, permutation=ORDER)
MOVED = ColumnsFormat(RawFormat("f16"), permutation=ORDER)
SPLIT = ColumnsFormat(LATTICE, critical=NARROWER, n_critical=4)
QUANTILES = Table.of(np.arange(-120, 136, 16, dtype=np.int8))
WIDE_QUANTILES = Table.of((np.arange(32, dtype=np.int16) - 16) * 2047)
TRELLIS = TrellisFormat(state_bits=8, step_bits=2, multipliers=(71,), table=QUANTILES)
ROTATED = TrellisFormat(
    state_bits=12, step_bits=3, multipliers=(2473,), table=WIDE_QUANTILES, fold=5,
    rotation=4, seed=(1 << 32) - 1,
)  # fmt: skip
PAIRED = TrellisFormat(state_bits=16, step_bits=5, multipliers=(40503, 1), table=QUANTILES, fold=15)
COMBINED = ColumnsFormat(ROTATED, critical=PAIRED, n_critical=2, permutation=ORDER)
BEFORE_TRELLIS = ColumnsFormat(TRELLIS, critical=LATTICE, n_critical=1)


def small_bundle() -> ModelBundle:
    """Sixteen tensors in sixteen formats of every codec; the same bytes every time."""
    random = np.random.default_rng(20261122)
    tensors = {
        "scalar": _encoded(RawFormat("f32"), (), random, 0.0),
        "norm.weight": _encoded(RawFormat("f16"), (5,), random, 0.0),
        LONG_NAME: _encoded(PAPER, (3, 7), random, 0.1),
        "layers.0.weight": _encoded(LATTICE, (2, 3, 5), random, 0.25),
        "layers.1.weight": _encoded(COMPANDED, (4, 6), random, 1 / 3),
        "layers.10.weight": _encoded(LATTICE, (9,), random, 0.0),
        "shared.a": _encoded(ADDITIVE, (3, 10), random, 0.5),
        "shared.b": _encoded(NARROWER, (2, 3, 1), random, 0.5),
        "split.a": _encoded(REORDERED, (3, 10), random, 0.5),
        "split.b": _encoded(MOVED, (2, 2, 5), random, 0.0),
        FITTING_NAME: _encoded(SPLIT, (2, 9), random, 0.5),
        "trellis.a": _encoded(TRELLIS, (17, 6), random, 0.5),
        "trellis.b": _encoded(ROTATED, (3, 2, 4), random, 0.5),
        "trellis.c": _encoded(PAIRED, (), random, 0.5),
        "trellis.d": _encoded(COMBINED, (3, 10), random, 0.5),
        "trellis.e": _encoded(BEFORE_TRELLIS, (2, 5), random, 0.5),
    }
    return ModelBundle(
        name="small",
        tensors=tuple(TensorSource(name, lambda t=tensor: t) for name, tensor in tensors.items()),
        settings='{"codec": "winding"}',
        model={
            "architecture": "llama",
            "layers": 2,
            "eps": 1e-5,
            "theta": 10000.0,
            "tied": True,
            "shift": -1,
            "big": 1 << 40,
            "sides": [1, -2, 3],
        },
        tokenizer={
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.tokens": ["a", "é", "Ġthe", ""],
            "tokenizer.ggml.scores": [0.0, -1.5, 2.0, 0.0],
            "tokenizer.ggml.bos_token_id": 0,
        },
    )


def _encoded(
    fmt: Format, shape: tuple[int, ...], random: np.random.Generator, error_bound: float
) -> EncodedTensor:
    """A tensor with random codes and sound parameters."""
    parts: dict[str, np.ndarray] = {}
    for spec in fmt.part_specs(shape):
        if spec.dtype == np.uint8:
            parts[spec.name] = random.integers(0, 256, spec.size, np.uint8)
        else:
            values = random.integers(0, 64, spec.size) / 64
            parts[spec.name] = values.astype(spec.dtype)
    return EncodedTensor(fmt, shape, parts, error_bound)
