"""Elementary functions of float32 in numpy, operation by operation as the C side has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST, LEAST = np.float32(88), np.float32(-87)
COEFFICIENTS = (
    1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
    5.0000001201e-1,
)  # fmt: skip


def exp_f32(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """exp(x), float32 of the same shape, off by at most 1 unit in the last place.

    With n the nearest integer to x / ln 2, r is x - n ln 2, taken off in two parts, and the result
    a polynomial in r (Moshier's Cephes, expf) times 2^n. Infinity above `MOST`; 0 below `LEAST`, so
    that nothing is subnormal. NaN stays NaN.
    """
    f = np.float32
    inside = np.where(x > MOST, MOST, np.where(x < LEAST, LEAST, x)).astype(np.float32)
    shift = f(1.5 * 2**23)
    n = (inside * f(1.44269504) + shift) - shift
    r = (inside - n * f(0.693359375)) - n * f(-2.12194440e-4)
    p = np.full_like(r, COEFFICIENTS[0])
    for coefficient in COEFFICIENTS[1:]:
        p = p * r + f(coefficient)
    p = p * (r * r) + r + f(1)
    p = np.ldexp(p, np.nan_to_num(n).astype(np.int32))
    return np.where(x > MOST, f(np.inf), np.where(x < LEAST, f(0), p)).astype(np.float32)
