"""The linears that get codebooks, with their weights and Hessians, one input site after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from edgecomp.calibration import Site, Statistics
from edgecomp.calibration.weights import read_tensor
from edgecomp.checkpoint import Checkpoint
from edgecomp.encode.crvq.importance import damped
from edgecomp.encode.settings import CrvqSettings

__all__ = ["Linears"]

ROW_WEIGHT_RANGE = 20.0  # of a row's weight beside the mean of its matrix, to either side


@dataclass(frozen=True)
class Linears:
    """What the encoder reads: the sites of all blocks, in the order in which they run.

    `row_weights` has, by tensor, how much an error of each output counts, float (rows,); empty
    where that was not measured. Rows are scaled by its square root before they are encoded, so
    that codebooks, importance and losses see it.
    """

    checkpoint: Checkpoint
    statistics: Statistics
    settings: CrvqSettings
    sites: tuple[Site, ...]
    row_weights: Mapping[str, Tensor]
    device: torch.device

    @property
    def names(self) -> tuple[str, ...]:
        """All tensors, in the order of their sites."""
        return tuple(name for site in self.sites for name in site.tensors)

    def row_factors(self, name: str, rows: int) -> Tensor:
        """The square roots of a tensor's row weights, float32 (rows,), in a limited range."""
        if name not in self.row_weights:
            return torch.ones(rows, device=self.device)
        weights = self.row_weights[name].to(self.device).float()
        mean = weights.mean()
        if not mean > 0:
            return torch.ones(rows, device=self.device)
        return weights.clamp(mean / ROW_WEIGHT_RANGE, mean * ROW_WEIGHT_RANGE).sqrt()

    def weight(self, name: str) -> Tensor:
        """The tensor's weights as they are, float32 (rows, columns)."""
        return read_tensor(self.checkpoint, name, self.device)

    def weighted(self, name: str) -> Tensor:
        """The tensor's weights times their row factors, float32 (rows, columns)."""
        weight = self.weight(name)
        return weight * self.row_factors(name, len(weight))[:, None]

    def hessian(self, site: Site) -> Tensor:
        """The damped mean of x x^T of a site, float32 (columns, columns)."""
        mean = torch.from_numpy(self.statistics.hessian(site.tensors[0])).to(self.device)
        return damped(mean, self.settings.damping)

    def each_site(self, show: Callable[[str, int], None]) -> Iterator[tuple[Site, Tensor]]:
        """Every site with its Hessian; `show` is told the site's first tensor and its number."""
        for i, site in enumerate(self.sites):
            show(site.tensors[0], i)
            yield site, self.hessian(site)
