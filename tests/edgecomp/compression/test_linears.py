"""Which tensors CRVQ codes, and what the user is told of the others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from edgecomp.calibration import Site
from edgecomp.checkpoint import open_checkpoint
from edgecomp.compression import CompressError, linears
from edgecomp.encode import CrvqSettings, TrellisSettings

PLAIN = Site(8, ("a", "b"))
TRANSPOSED = Site(8, ("c", "d"), transposed=True)


@pytest.mark.parametrize(
    ("sites", "names", "expected"),
    [
        ([PLAIN], ("a", "b", "a", "b"), []),
        (
            [PLAIN, TRANSPOSED],
            ("a", "b", "a", "b"),
            ["4 tensors such as c are stored transposed: they are coded like embeddings"],
        ),
        ([TRANSPOSED], None, []),  # GPT-2: the error alone
    ],
)
def test_transposed_linears(
    sites: list[Site],
    names: tuple[str, ...] | None,
    expected: list[str],
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = SimpleNamespace(n_blocks=2, linear_sites=lambda i: sites)
    monkeypatch.setattr(linears, "open_streamed", lambda checkpoint: network)
    checkpoint = open_checkpoint(str(tiny))
    notes: list[str] = []
    if names is None:
        with pytest.raises(CompressError, match="tiny has no linear that CRVQ can code"):
            linears.coded_names(checkpoint, CrvqSettings(), notes.append)
        tuned = TrellisSettings(finetune="block")
        with pytest.raises(CompressError, match="tiny has no linear that can be tuned") as caught:
            linears.coded_names(checkpoint, tuned, notes.append)
        assert caught.value.hint == "leave --finetune out"
    else:
        assert linears.coded_names(checkpoint, CrvqSettings(), notes.append) == names
    assert notes == expected


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        (TrellisSettings(finetune="end-to-end"), "give --finetune block, --device cpu or"),
        (TrellisSettings(finetune="block"), "give --finetune none, --device cpu or"),
        (CrvqSettings(finetune="none"), "give --device cpu or a smaller --context"),
    ],
)
def test_a_device_without_enough_memory(
    settings: CrvqSettings | TrellisSettings, hint: str
) -> None:
    """The hint asks for less than what was asked for."""
    with (
        pytest.raises(CompressError, match="not enough memory: tried 9 GiB") as caught,
        linears.tuning_errors(settings),
    ):
        raise torch.OutOfMemoryError("tried 9 GiB\nand more")
    assert caught.value.hint.startswith(hint)
