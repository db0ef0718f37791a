"""The demo: one table and two texts, from the model and the text that ship with edgecomp."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgecomp import inspect
from edgecomp.cli.demo import (
    PROMPT,
    WINDOWS,
    print_demo,
    run_demo,
    shipped_calibration,
    shipped_model,
    shipped_text,
)
from edgecomp.evaluation import read_tokens


def test_calibration_text_is_another_one_than_the_judged_one() -> None:
    calibration, judged = (path.read_text() for path in (shipped_calibration(), shipped_text()))
    tokens = read_tokens(shipped_model() / "tokenizer.json", calibration)
    assert tokens.size // 256 == 129
    pieces = {calibration[i : i + 40] for i in range(len(calibration) - 39)}
    assert not any(judged[i : i + 40] in pieces for i in range(0, len(judged) - 39, 40))


@pytest.mark.slow
def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "kept.gguf"
    result = run_demo(out, lambda step: None, lambda line: None)
    original, paper, lattice, trellis, crvq = result.rows
    assert (original.name, original.encode_seconds) == ("original", None)
    assert original.bpw > 16
    assert original.quality.ppl == pytest.approx(67.74, abs=0.005)
    assert paper.quality.ppl < 1.01 * original.quality.ppl
    assert lattice.bpw < 4.5 < paper.bpw < 7
    assert 0 < paper.quality.kl < lattice.quality.kl < 0.05
    assert crvq.bpw < 2.5 < trellis.bpw < 3 < lattice.bpw
    assert lattice.quality.kl < trellis.quality.kl < 0.2 < crvq.quality.kl < 0.6
    assert crvq.quality.ppl < 2 * original.quality.ppl
    assert all(row.quality.windows == WINDOWS for row in result.rows)
    found = inspect(out, verify=True)
    assert found.damaged == ()
    assert (found.file_bytes, found.bpw) == (trellis.file_bytes, trellis.bpw)
    names = [name for name, _ in result.continuations]
    assert names == ["original", lattice.name, trellis.name, crvq.name]
    assert all(len(text.split()) > 10 for _, text in result.continuations)
    print_demo(result, json=False)
    shown = capsys.readouterr().out
    assert f"{lattice.file_bytes:,}" in shown
    assert f"{crvq.file_bytes:,}" in shown
    assert PROMPT in shown
    print_demo(result, json=True)
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["file_bytes"] for row in rows] == [row.file_bytes for row in result.rows]
    assert rows[2]["kl"] == lattice.quality.kl
