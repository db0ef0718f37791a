"""Mean square errors on unit Gaussian weights, by the benchmark that shows them (crvq.md 5.3)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[4] / "benchmarks"


@pytest.fixture
def rate_distortion(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location(
        "rate_distortion", BENCHMARKS / "rate_distortion.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def errors(module: ModuleType, case: tuple[int, int, int], samples: int) -> tuple[float, float]:
    """Mean square errors of the fitted and of the fresh sample."""
    fitted, fresh = module.codebook_rows(case, samples, seed=1)
    assert fitted["index_bpw"] == case[1] / case[0] * (1 + case[2])
    return fitted["mse"], fresh["mse"]


@pytest.mark.slow
def test_four_dimensions(rate_distortion: ModuleType) -> None:
    """16 codewords of 4 weights: 0.342 within 1 %, fitted or not."""
    fitted, fresh = errors(rate_distortion, (4, 4, 0), 1 << 18)
    assert fitted == pytest.approx(0.342, rel=0.01)
    assert fresh == pytest.approx(0.342, rel=0.01)


@pytest.mark.slow
def test_eight_dimensions(rate_distortion: ModuleType) -> None:
    """256 codewords of 8 weights, fitted to 131,072 groups: 0.3245 within 1 % on others.

    The groups that they were fitted to come out better by some 2 %, which is not the code's merit.
    """
    fitted, fresh = errors(rate_distortion, (8, 8, 0), 1 << 20)
    assert fresh == pytest.approx(0.3245, rel=0.01)
    assert 0.97 * fresh < fitted < fresh


@pytest.mark.slow
def test_stages(rate_distortion: ModuleType) -> None:
    """Two codebooks are better together than residual k-means (0.107)."""
    fitted, fresh = errors(rate_distortion, (8, 8, 1), 1 << 20)
    assert fitted < fresh < 0.107
