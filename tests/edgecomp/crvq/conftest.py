"""The linears of a small Llama as the encoder reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from edgecomp.calibration import open_statistics
from edgecomp.checkpoint import open_checkpoint
from edgecomp.crvq.linears import Linears
from edgecomp.encode import CrvqSettings


@dataclass(frozen=True)
class ChangedLinears(Linears):
    """Linears of which some have other weights."""

    changed: Mapping[str, torch.Tensor]

    def weight(self, name: str) -> torch.Tensor:
        """See Linears."""
        return self.changed[name] if name in self.changed else super().weight(name)


@pytest.fixture
def linears_of(small_llama: Path, small_statistics: Path) -> Callable[..., Linears]:
    """A function from settings and changed weights to the linears of the Llama's blocks."""

    def make(settings: CrvqSettings, changed: Mapping[str, torch.Tensor] | None = None) -> Linears:
        checkpoint = open_checkpoint(str(small_llama))
        statistics = open_statistics(small_statistics, checkpoint)
        sites = tuple(site for site in statistics.sites if site.tensors != ("lm_head.weight",))
        cpu = torch.device("cpu")
        return ChangedLinears(checkpoint, statistics, settings, sites, {}, cpu, changed or {})

    return make
