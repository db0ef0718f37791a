"""Test vectors for the kernels: tensors of random codes, and what the reference makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from runtime_ops import reference
from runtime_ops.formats import (
    ColumnsFormat,
    CrvqFormat,
    EncodedTensor,
    Format,
    PlainFormat,
    RawFormat,
    TrellisFormat,
    UniformFormat,
    WindingFormat,
    matrix_sides,
)
from runtime_ops.formats.columns import CRITICAL_PREFIX
from runtime_ops.formats.trellis import BAND_ROWS

DECODE, ROWS, GEMV, GEMM, PREPARE, MATMUL_I8 = 0, 1, 2, 3, 4, 5
SEED = 20261122
SCALED = CrvqFormat | TrellisFormat | UniformFormat  # scales in float16, and a factor


@dataclass(frozen=True)
class Case:
    """One call with its expected result."""

    op: int
    tensor: EncodedTensor
    first: int
    count: int
    x: NDArray[np.float32]
    expected: NDArray[np.float32]
    threads: int = 1  # numbers of threads to try: 1, 2, 4 up to this one


PAPER = WindingFormat(
    dim=2, points=225, generator=(19088744, 286331154), shift=(0, 0), levels=225, offset=0,
    centre=True, classes=4, group=0, packing="bits",
)  # fmt: skip
LATTICE = WindingFormat(
    dim=4, points=65536, generator=(65536, 3005808640, 1553006592, 909705216),
    shift=(32768, 3642130432, 2370961408, 1692631040), levels=65536, offset=1,
    centre=False, classes=1, group=32, packing="bits",
)  # fmt: skip


def formats() -> list[WindingFormat]:
    """Formats that between them use every branch of the decoder."""
    rng = np.random.default_rng(SEED)
    table = tuple(np.sort(rng.integers(-32768, 32768, 256)).tolist())
    lattice = LATTICE
    both = replace(PAPER, points=1601, classes=3, group=64, levels=1681, packing="radix")
    return [
        PAPER,
        replace(PAPER, points=1600, levels=1600, classes=1),
        replace(PAPER, points=1600, levels=1600, classes=16),
        lattice,
        replace(lattice, levels=256, table=table),
        replace(lattice, points=1 << 24, group=4),
        replace(lattice, points=7131, packing="radix"),
        replace(lattice, points=(1 << 24) - 3, packing="radix", levels=256, table=table),
        replace(lattice, dim=3, generator=lattice.generator[:3], shift=lattice.shift[:3], group=33),
        replace(
            lattice, dim=2, generator=(1 << 24, 2654435769), shift=(5, 7), points=256, group=128
        ),
        replace(
            lattice,
            dim=1,
            generator=(1 << 28,),
            shift=(1 << 27,),
            points=16,
            levels=2,
            table=(-7, 9),
        ),
        replace(
            lattice, dim=1, generator=(1 << 31,), shift=(0,), points=2, packing="radix", group=7
        ),
        both,
    ]


def random_tensor(fmt: Format, shape: tuple[int, ...], rng: np.random.Generator) -> EncodedTensor:
    """A tensor of that shape whose codes are random bytes; some indices exceed the radix."""
    if not isinstance(fmt, ColumnsFormat):
        return EncodedTensor(fmt, shape, random_parts(fmt, shape, rng))
    critical_shape, rest_shape = fmt.part_shapes(shape)
    parts: dict[str, NDArray[np.generic]] = {}
    if fmt.critical is not None:
        critical = random_parts(fmt.critical, critical_shape, rng)
        parts = {CRITICAL_PREFIX + name: part for name, part in critical.items()}
    return EncodedTensor(fmt, shape, parts | random_parts(fmt.rest, rest_shape, rng))


def random_parts(
    fmt: PlainFormat, shape: tuple[int, ...], rng: np.random.Generator
) -> dict[str, NDArray[np.generic]]:
    """Parts of a matrix."""
    parts: dict[str, NDArray[np.generic]] = {}
    for spec in fmt.part_specs(shape):
        if spec.name == "raw":
            parts["raw"] = rng.normal(0, 1, spec.size).astype(spec.dtype)
        elif isinstance(fmt, SCALED) and spec.name == "scales":
            parts["scales"] = np.exp2(rng.uniform(-14, 15.9, spec.size)).astype("<f2")
            parts["scales"][rng.random(spec.size) < 0.1] = 0
            every_other = parts["scales"][::2]
            every_other[every_other == 0] = -0.0
        elif isinstance(fmt, WindingFormat) and spec.name == "params":
            parts["params"] = np.concatenate(
                [rng.normal(0, 0.1, fmt.dim), np.abs(rng.normal(0, 0.01, fmt.classes))]
            ).astype(np.float32)
        elif spec.name == "params":
            parts["params"] = np.exp2(rng.uniform(-20, 1, 1)).astype(np.float32)
        else:
            parts[spec.name] = rng.integers(0, 256, spec.size, np.uint8)
    if isinstance(fmt, UniformFormat):
        scales = parts["scales"].reshape(fmt.bands(shape), -1, BAND_ROWS)
        scales[-1, :, (matrix_sides(shape)[0] - 1) % BAND_ROWS + 1 :] = 0  # beyond the matrix
    return parts


def winding_cases() -> Iterator[Case]:
    """Every winding at shapes around the kernels' steps, decoded and multiplied; raw tensors."""
    rng = np.random.default_rng(SEED)
    for fmt in formats():
        for columns in (1, 2, 3, 7, 8, 31, 32, 33, 127, 129, 511, 512, 513, 1031):
            for rows in (1, 3):
                yield from tensor_cases(random_tensor(fmt, (rows, columns), rng), rng)
    raw = rng.normal(0, 1, (5, 19)).astype(np.float32)
    raw[0, :4] = [0.0, -0.0, 6e-8, 65504]
    half = {"raw": raw.reshape(-1).astype("<f2")}
    half["raw"][:8] = np.array([0, 1, 0x3FF, 0x400, 0x7BFF, 0x8001, 0xFBFF, 0x8000], "<u2").view(
        "<f2"
    )
    yield from tensor_cases(EncodedTensor(RawFormat("f16"), raw.shape, half), rng)
    yield from tensor_cases(
        EncodedTensor(RawFormat("f32"), raw.shape, {"raw": raw.reshape(-1)}), rng
    )


def tensor_cases(tensor: EncodedTensor, rng: np.random.Generator) -> Iterator[Case]:
    """Calls on one tensor."""
    weights = reference.decode(tensor)
    rows, columns = tensor.shape
    flat = weights.reshape(-1)
    nothing = np.zeros(0, np.float32)
    yield Case(DECODE, tensor, 0, len(flat), nothing, flat)
    first = int(rng.integers(0, len(flat)))
    count = int(rng.integers(0, len(flat) - first + 1))
    yield Case(DECODE, tensor, first, count, nothing, flat[first : first + count])
    row = int(rng.integers(0, rows))
    yield Case(ROWS, tensor, row, rows - row, nothing, weights[row:].reshape(-1))
    x = activations((columns,), rng)
    yield Case(GEMV, tensor, 0, rows, x, reference.gemv(tensor, x))


def gemm_case(tensor: EncodedTensor, n_tokens: int, rng: np.random.Generator) -> Case:
    """The last rows of the tensor with several tokens."""
    rows, columns = tensor.shape
    row = rows // 3
    x = activations((n_tokens, columns), rng)
    expected = np.ascontiguousarray(reference.gemm(tensor, x)[:, row:])
    return Case(GEMM, tensor, row, rows - row, x, expected)


def prepare_case(tensor: EncodedTensor, n_tokens: int, rng: np.random.Generator) -> Case:
    """Inputs made ready for the tensor."""
    x = activations((n_tokens, tensor.shape[1]), rng)
    return Case(PREPARE, tensor, 0, 0, x, reference.prepare(tensor, x))


def activations(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Random inputs, some of them subnormal."""
    x = rng.normal(0, 1, shape).astype(np.float32)
    x[..., :: max(1, shape[-1] // 3)] *= np.float32(1e-41)
    return x
