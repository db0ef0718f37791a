"""The weights of rows."""

from __future__ import annotations

import pytest
import torch

from edgecomp.crvq.linears import ROW_WEIGHT_RANGE
from edgecomp.encode import CrvqSettings


def test_row_factors_keep_to_a_range(linears_of) -> None:
    linears = linears_of(CrvqSettings())
    name = linears.names[0]
    assert (linears.row_factors(name, 4) == 1).all()
    weights = torch.tensor([1e-9, 1.0, 1.0, 1e-9, 100.0])
    object.__setattr__(linears, "row_weights", {name: weights, "zero": torch.zeros(3)})
    factors = linears.row_factors(name, 5)
    mean = float(weights.mean())
    assert factors[4] == pytest.approx(10.0)
    assert factors[1] == pytest.approx((mean / ROW_WEIGHT_RANGE) ** 0.5)
    assert factors[0] == pytest.approx((mean / ROW_WEIGHT_RANGE) ** 0.5)
    assert (linears.row_factors("zero", 3) == 1).all()
