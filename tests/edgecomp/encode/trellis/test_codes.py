"""The trellises in trellis.json are what benchmarks/search_trellis.py says that they are."""

from __future__ import annotations

import json

import numpy as np
import pytest
import search_trellis

from edgecomp.encode import TrellisSettings
from edgecomp.encode.settings.trellis import StateBits
from edgecomp.encode.trellis.codes import KNOWN, chosen_code, code_for, known_codes, steps_of

MEASURED = ["8/1/1", "8/3/2", "10/2/1", "12/3/1", "12/5/2", "12/8/1"]
ENTRIES = {search_trellis.case_of(entry): entry for entry in json.loads(KNOWN.read_text())}


def test_every_case_of_the_search_is_known() -> None:
    """No other, none twice, each a valid format with a table that uses its range."""
    assert set(known_codes()) == set(ENTRIES) == set(search_trellis.CASES)
    fields = {"state_bits", "step_bits", "multipliers", "fold", "table", "unit", "mse"}
    for case, code in known_codes().items():
        assert set(ENTRIES[case]) == fields
        fmt = code.format(0, 0)
        assert (fmt.state_bits, fmt.step_bits, fmt.dim) == case
        limit = 127 if fmt.table.dtype == "|i1" else 32767
        assert 0.2 * limit < max(map(abs, code.table)) <= limit
        assert 4.0**-code.bits < ENTRIES[case]["mse"] < 1


@pytest.mark.parametrize("name", MEASURED)
def test_recorded_errors_hold_on_other_weights(name: str) -> None:
    """Within 2 % of the mean square error in the file."""
    state_bits, step_bits, dim = map(int, name.split("/"))
    code = known_codes()[state_bits, step_bits, dim]
    table = np.array(code.table, np.float32) * np.float32(code.unit)
    error = search_trellis.error_of(code, table, search_trellis.gaussian(128, seed=777))
    assert error == pytest.approx(ENTRIES[state_bits, step_bits, dim]["mse"], rel=0.02)


@pytest.mark.slow
def test_search_finds_what_the_file_has() -> None:
    """One of the cases that take seconds."""
    code, error = search_trellis.search(8, 2, 1)
    assert code == code_for(2, 8)
    assert error == pytest.approx(ENTRIES[8, 2, 1]["mse"], rel=1e-4)


def test_codes_of_rates() -> None:
    """Half bits take two weights a step; others are refused."""
    assert steps_of(2) == (2, 1)
    assert steps_of(2.5) == (5, 2)
    assert code_for(1.5, 10).dim == 2
    for bits in (0.5, 8.5, 1.25):
        with pytest.raises(ValueError, match=r"expected a multiple of 0\.5 in 1\.\.8"):
            steps_of(bits)
    with pytest.raises(ValueError, match="no trellis of 8 bits with 8 state bits is known"):
        code_for(8, 8)


def test_tables_of_high_rates_keep_their_16_bits() -> None:
    """A table that needs finer values than 1 / 127 of its largest keeps them when it is fitted."""
    code = code_for(8, 12)
    table = np.array(code.table) * code.unit * 1.01
    fitted = code.with_table(table)
    assert max(map(abs, fitted.table)) == max(map(abs, code.table)) > 1000
    np.testing.assert_allclose(np.array(fitted.table) * fitted.unit, table, atol=fitted.unit / 2)


@pytest.mark.parametrize(
    ("bits", "state_bits", "entries", "expected"),
    [
        (2, 12, None, 256),
        (2, 12, 16, 16),
        (4, 16, None, 1024),
        (4, 16, 256, 256),
        (4, 16, 64, 64),
        (8, 12, 64, 4096),
    ],
)
def test_sizes_of_tables(
    bits: float, state_bits: StateBits, entries: int | None, expected: int
) -> None:
    """What is asked for, but for the tables of 16 bits that the highest rates need."""
    code = chosen_code(TrellisSettings(bits, state_bits, table_entries=entries))
    assert len(code.table) == expected


def test_a_table_becomes_integers_of_its_unit() -> None:
    """The largest becomes 127 and the others keep their proportions."""
    code = code_for(2, 8)
    table = np.linspace(-2.0, 3.0, 256)
    fitted = code.with_table(table)
    assert max(fitted.table) == 127
    np.testing.assert_allclose(np.array(fitted.table) * fitted.unit, table, atol=fitted.unit / 2)
