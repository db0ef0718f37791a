"""A small Llama, its text, its statistics, and the linears that the encoder reads from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from edgecomp.calibration import CalibrateSettings, calibrate_checkpoint, open_statistics
from edgecomp.checkpoint import open_checkpoint
from edgecomp.crvq.linears import Linears
from edgecomp.encode import CrvqSettings
from tests.edgecomp.crvq.small_models import save_small, write_text


@pytest.fixture(scope="session")
def small_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Llama of two blocks; nobody changes it."""
    return save_small(tmp_path_factory.mktemp("small") / "llama")


@pytest.fixture(scope="session")
def small_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of 16 windows of 32 tokens, and a rest."""
    return write_text(tmp_path_factory.mktemp("text") / "text.txt")


@pytest.fixture(scope="session")
def small_statistics(
    small_llama: Path, small_text: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The Llama's statistics over that text."""
    out = tmp_path_factory.mktemp("statistics") / "statistics"
    how = CalibrateSettings(512, 32, "cpu")
    calibrate_checkpoint(open_checkpoint(str(small_llama)), small_text, out, how)
    return out


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
