"""Hessians that feedback goes by."""

from __future__ import annotations

import numpy as np
import pytest

from edgecomp.encode import ArraySource, TrellisSettings
from edgecomp.encode.trellis.feedback import damped
from edgecomp.encode.trellis.tensor import InputStatistics, encode_trellis


def test_damping_is_beside_the_mean_of_the_diagonal() -> None:
    np.testing.assert_allclose(damped(np.diag([1.0, 3.0]), 0.5), np.diag([2.0, 4.0]))
    np.testing.assert_array_equal(damped(np.zeros((3, 3)), 0.5), np.eye(3))


@pytest.mark.parametrize("place", [(2, 2), (1, 2)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(place: tuple[int, int], value: float) -> None:
    hessian = np.eye(8, dtype=np.float32)
    hessian[place] = value
    statistics = InputStatistics(np.ones(8, np.float32), hessian)
    source = ArraySource(np.ones((32, 8), np.float32))
    with pytest.raises(ValueError, match="a Hessian with values that are not finite"):
        encode_trellis(source, TrellisSettings(2, 8), "w", statistics)
