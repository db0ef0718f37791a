"""The search in torch: the bytes of the one in C."""

from __future__ import annotations

import numpy as np
import pytest

from edgecomp.encode.trellis import viterbi, viterbi_torch
from edgecomp.encode.trellis.codes import code_for
from edgecomp.encode.trellis.matrix import encode_matrix
from tests.edgecomp.encode.trellis.jobs import job_of

CASES = [(1, 8), (1.5, 8), (4, 8), (3, 10), (2, 12)]


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize(("bits", "state_bits"), CASES)
def test_torch_finds_the_codes_of_c(
    monkeypatch: pytest.MonkeyPatch, bits: float, state_bits: int, feedback: bool
) -> None:
    """Two bands, one at a time; more strips than a walk without feedback has."""
    monkeypatch.setattr(viterbi_torch, "CHOICE_BYTES", 1)
    columns = 24 if feedback else 68
    job = job_of(bits, state_bits, (32, columns), feedback)
    expected = job.run()
    found = viterbi_torch.Encoding(
        job.format, job.targets.copy(), job.row_weights, job.column_weights, device="cpu"
    )
    found.encode(0, columns, job.feedback)
    np.testing.assert_array_equal(found.codes, expected.codes)
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.targets, expected.targets)


def test_windows_of_columns_follow_one_another() -> None:
    """What is encoded in three calls starts where the call before ended, as in C."""
    job = job_of(2, 8, (48, 60))
    arguments = (job.format, job.targets, job.row_weights, job.column_weights)
    expected = viterbi.Encoding(*arguments)
    found = viterbi_torch.Encoding(*arguments, device="cpu")
    for first, end in ((40, 60), (4, 40), (0, 4)):
        expected.encode(first, end)
        found.encode(first, end)
    np.testing.assert_array_equal(found.codes, expected.codes)
    np.testing.assert_array_equal(found.values, expected.values)


def test_a_matrix_on_another_device_has_the_same_codes() -> None:
    """The torch device "cpu:0" with rotation and feedback over several windows."""
    rng = np.random.default_rng(4)
    weight = rng.standard_normal((20, 160), np.float32)
    inputs = rng.standard_normal((400, 160)) @ rng.standard_normal((160, 160))
    hessian = inputs.T @ inputs / 400 + np.eye(160)
    code = code_for(2, 8)
    expected = encode_matrix(weight, code, hessian, rotation=32, seed=3)
    found = encode_matrix(weight, code, hessian, rotation=32, seed=3, device="cpu:0")
    np.testing.assert_array_equal(found.codes, expected.codes)
    np.testing.assert_array_equal(found.scales, expected.scales)
