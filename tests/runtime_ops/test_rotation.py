"""The rotation of trellis matrices: what R is, that W = V R, and what products lose by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime_ops import EncodedTensor, RawFormat, reference
from runtime_ops.formats import ColumnsFormat, Table, TrellisFormat, matrices
from tests.runtime_ops.vectors import random_tensor

UNIT = 2.0**-24  # of float32
SMALLEST = 2.0**-149
RAMP = Table.of(np.arange(-120, 136, 16, dtype=np.int8))
FORMAT = TrellisFormat(8, 2, (71,), RAMP, fold=4)


def rotated(rotation: int, seed: int = 5) -> TrellisFormat:
    return replace(FORMAT, rotation=rotation, seed=seed)


def matrix_r(fmt: TrellisFormat, columns: int) -> NDArray[np.float64]:
    """R, float64 (columns, columns): the rotated unit vectors are its columns."""
    return reference.rotate(fmt, np.eye(columns, dtype=np.float32)).T.astype(np.float64)


def murmur(number: int) -> int:
    """MurmurHash3's finaliser in Python's integers."""
    h = number
    h = (h ^ h >> 16) * 0x85EBCA6B % (1 << 32)
    h = (h ^ h >> 13) * 0xC2B2AE35 % (1 << 32)
    return h ^ h >> 16


@pytest.mark.parametrize("seed", [0, 1, 5, 40503, (1 << 32) - 1])
def test_signs_are_top_bits_of_the_hash(seed: int) -> None:
    """Column by column; the sum that is hashed wraps."""
    hashes = [murmur((seed + (j + 1) * 0x9E3779B9) % (1 << 32)) for j in range(300)]
    expected = [1 - 2 * (h >> 31) for h in hashes]
    assert reference.signs(rotated(4, seed), 300).tolist() == expected
    assert 100 < expected.count(1) < 200


def test_the_hash_is_murmurhash3s() -> None:
    """Its published test vectors of no bytes are the finaliser of the seed."""
    assert [murmur(seed) for seed in (0, 1, 0xFFFFFFFF)] == [0, 0x514E28B7, 0x81F16F39]


@pytest.mark.parametrize(("rotation", "columns"), [(2, 2), (2, 6), (4, 12), (8, 8), (64, 192)])
def test_r_is_hadamard_blocks_times_signs(rotation: int, columns: int) -> None:
    """Entry for entry, and R R^T = n I: it turns space, but for the factor sqrt(n)."""
    fmt = rotated(rotation)
    r = matrix_r(fmt, columns)
    signs = reference.signs(fmt, columns)
    for a in range(columns):
        for b in range(columns):
            same_block = a // rotation == b // rotation
            parity = ((a % rotation) & (b % rotation)).bit_count() % 2
            assert r[a, b] == (signs[b] * (1 - 2 * parity) if same_block else 0)
    assert np.array_equal(r @ r.T, rotation * np.eye(columns))


@pytest.mark.parametrize("rotation", [2, 4, 32])
def test_decoded_weights_are_v_times_r(rotation: int) -> None:
    """W = V R as matrices, exactly where scales are whole numbers: nothing is rounded then."""
    fmt = rotated(rotation)
    tensor = random_tensor(fmt, (19, 64), np.random.default_rng(rotation))
    parts = {
        **tensor.parts,
        "scales": np.arange(19, dtype=np.float16),
        "params": np.ones(1, np.float32),
    }
    tensor = EncodedTensor(fmt, (19, 64), parts)
    stored = reference.stored_matrix(fmt, parts, (19, 64))
    plain = EncodedTensor(replace(fmt, rotation=0, seed=0), (19, 64), parts)
    assert np.array_equal(stored, reference.decode(plain))
    expected = stored.astype(np.float64) @ matrix_r(fmt, 64)
    assert np.array_equal(reference.decode(tensor), expected)
    x = np.random.default_rng(1).integers(-8, 9, 64).astype(np.float32)
    assert np.array_equal(reference.gemv(tensor, x), expected @ x)


def test_without_a_rotation_nothing_is_done() -> None:
    x = np.random.default_rng(2).normal(0, 1, (3, 6)).astype(np.float32)
    assert reference.rotate(FORMAT, x) is x
    assert reference.unrotate(FORMAT, x) is x


def test_rounds_of_the_butterfly() -> None:
    """Numbers that are 1, then 2, then 4 apart, each sum rounded: 2**24 swallows a lone 1."""
    large = np.float32(2**24)
    x = np.array([[large, 1, 1, 1, 0, 0, 0, 0]], np.float32)
    # h = 1: 2**24 + 1 rounds to 2**24, 2**24 - 1 does not round; h = 2 adds 2 and 0.
    half = [2**24 + 2, 2**24 - 1, 2**24 - 2, 2**24 - 1]
    assert reference.hadamard(x, 8).tolist() == [half + half]
    assert reference.hadamard(x, 4).tolist() == [[*half, 0, 0, 0, 0]]
    assert reference.hadamard(x, 1).tolist() == x.tolist()


def test_each_matrix_of_columns_has_its_own_rotation() -> None:
    """`prepare`: permuted, critical columns first, each part rotated from its own column 0 on."""
    rng = np.random.default_rng(4)
    order = rng.permutation(20)
    critical, rest = rotated(4, 9), rotated(16, 11)
    fmt = ColumnsFormat(rest, critical, 4, Table.of(order.astype(np.uint16)))
    tensor = random_tensor(fmt, (3, 20), rng)
    x = rng.normal(0, 1, (2, 20)).astype(np.float32)
    first, others = x[:, order[:4]], x[:, order[4:]]
    prepared = [reference.rotate(critical, first), reference.rotate(rest, others)]
    assert np.array_equal(reference.prepare(tensor, x), np.concatenate(prepared, axis=1))
    fmt = ColumnsFormat(rest, RawFormat(), 4)
    tensor = random_tensor(fmt, (3, 20), rng)
    expected = np.concatenate([x[:, :4], reference.rotate(rest, x[:, 4:])], axis=1)
    assert np.array_equal(reference.prepare(tensor, x), expected)
    plain = random_tensor(FORMAT, (3, 20), rng)
    assert np.array_equal(reference.prepare(plain, x), x)


def inputs(columns: int) -> list[NDArray[np.float32]]:
    """Vectors that lose as much as can be, and usual ones."""
    rng = np.random.default_rng(columns)
    every = [
        rng.normal(0, 1, columns),
        2.0 ** rng.uniform(-20, 20, columns),
        np.where(np.arange(columns) % 2, -1, 1) * rng.uniform(1, 1.01, columns),
        rng.normal(0, 1e-40, columns),  # subnormal
        np.zeros(columns),
    ]
    return [x.astype(np.float32) for x in every]


def gamma(n: int) -> float:
    """Higham's: the most that n roundings do."""
    return n * UNIT / (1 - n * UNIT)


@pytest.mark.parametrize(("rotation", "columns"), [(2, 6), (16, 48), (128, 128), (1024, 1024)])
def test_errors_of_rotated_products_stay_below_the_stated_bound(
    rotation: int, columns: int
) -> None:
    """reference.gemv's docstring: against V (R x), against decoded weights, and gemm the same.

    Sums in float64 are exact to some 2**-50 of the magnitude, far below what is tested here.
    """
    fmt = rotated(rotation)
    tensor = random_tensor(fmt, (21, columns), np.random.default_rng(rotation))
    ((_, parts),) = matrices(tensor)
    stored = reference.stored_matrix(fmt, parts, (21, columns)).astype(np.float64)
    decoded = reference.decode(tensor).astype(np.float64)
    r = matrix_r(fmt, columns)
    n, m = -(-columns // 8) + 3, rotation.bit_length() - 1
    largest = 0.0
    for x in inputs(columns):
        exact, magnitude = stored @ (r @ x), np.abs(stored) @ (np.abs(r) @ np.abs(x))
        bound = gamma(n + m) * magnitude + columns * SMALLEST
        wider = gamma(n + 2 * m) * magnitude + columns * SMALLEST
        for y in (reference.gemv(tensor, x), reference.gemm(tensor, x[None])[0]):
            error = np.abs(y - exact)
            assert (error <= bound).all()
            assert (np.abs(y - decoded @ x.astype(np.float64)) <= wider).all()
            largest = max(largest, float((error[bound > 0] / bound[bound > 0]).max()))
    assert largest > 0.001, "the bound says nothing"


@pytest.mark.parametrize("rotation", [2, 64, 4096])
def test_errors_of_rotated_inputs_stay_below_the_stated_bound(rotation: int) -> None:
    """gamma(log2(rotation)) times the sum of |x| over the block."""
    fmt, m = rotated(rotation), rotation.bit_length() - 1
    for x in inputs(rotation):
        found = reference.rotate(fmt, x[None])[0]
        signed = (x * reference.signs(fmt, rotation)).astype(np.float64)
        most = gamma(m) * float(np.abs(signed).sum())
        for a in range(0, rotation, max(1, rotation // 64)):
            row = np.array([1 - 2 * ((a & b).bit_count() % 2) for b in range(rotation)])
            assert abs(float(found[a]) - float(row @ signed)) <= most
