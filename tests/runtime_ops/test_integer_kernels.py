"""Every set's kernels of products with int8 activations against the plain ones, byte for byte."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.runtime_ops import harness

# States of 8 bits with steps of 1..7 bits, then 10, 12 and 16 with 1..8, each for one or two
# weights, with tables of 4 bits up to as many as a state or 12 has, with and without a fold.
N_TRELLISES = 2 * 2 * (7 * 5 + 8 * (7 + 9 + 9))


@pytest.mark.parametrize("target", harness.EVERY_TARGET)
def test_every_set_writes_what_the_plain_kernels_write(target: str, tmp_path: Path) -> None:
    """Random and extreme arguments; whatever was built for the target must have run all of them."""
    command = harness.command("kernels", target, tmp_path)
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    results = dict(re.findall(r"^(\w+): (\d+ trellises, \d+ differ)$", run.stdout, flags=re.M))
    expected = f"{N_TRELLISES} trellises, 0 differ"
    assert results == dict.fromkeys(harness.expected_sets(target), expected)
