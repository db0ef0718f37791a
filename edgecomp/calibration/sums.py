"""The mean of x x^T over the tokens of each input of linears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgecomp.calibration.errors import CalibrationError
from edgecomp.calibration.sites import Site
from edgecomp.checkpoint import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["SiteSums"]

CHUNK_TOKENS = 4096  # tokens whose products are summed in float32 before float64 takes over


@dataclass
class SiteSums:
    """Sums over tokens of x x^T for the sites of one block; `where` names it in messages."""

    where: str
    sites: Sequence[Site]
    totals: dict[tuple[str, ...], torch.Tensor] = field(default_factory=dict)  # float64 (d, d)
    tokens: dict[tuple[str, ...], int] = field(default_factory=dict)

    def add(self, x: torch.Tensor, tensors: tuple[str, ...]) -> None:
        """Adds the tokens of an input float32 (..., d) that the weights of those names read.

        Raises CheckpointError for an input that is not finite, CalibrationError for one that no
        site has.
        """
        import torch

        if not any(site.tensors == tensors for site in self.sites):
            raise CalibrationError(
                f"{self.where}: {tensors[0]} does not always share its input with the same tensors",
                "networks that choose their linears by the input, such as experts, have no such "
                "statistics",
            )
        rows = x.detach().float().reshape(-1, x.shape[-1])
        if tensors not in self.totals:
            self.totals[tensors] = torch.zeros(
                (rows.shape[1], rows.shape[1]), dtype=torch.float64, device=rows.device
            )
        for chunk in torch.split(rows, CHUNK_TOKENS):
            products = chunk.T @ chunk
            if not torch.isfinite(products.diagonal()).all():
                raise CheckpointError(
                    f"tensor {tensors[0]}: its input in {self.where} is {describe(chunk)}, "
                    "expected numbers whose squares are finite",
                    "the model itself computes this in float32: repair the checkpoint",
                )
            self.totals[tensors] += products
        self.tokens[tensors] = self.tokens.get(tensors, 0) + rows.shape[0]

    def take_mean(self, site: Site, tokens: int) -> NDArray[np.float32]:
        """The mean of x x^T at a site, float32 (d, d), exactly symmetric; frees its sum.

        Raises CalibrationError unless the site has read that many tokens.
        """
        seen = self.tokens.get(site.tensors, 0)
        if seen != tokens:
            raise CalibrationError(
                f"tensor {site.tensors[0]}: {self.where} read {seen} tokens, expected {tokens}",
                "networks that leave out tokens have no such statistics",
            )
        total = self.totals.pop(site.tensors)
        # a_ij + a_ji is the same number for both: float32 products of a matrix need not be.
        mean = total.add_(total.T.clone()).div_(2 * tokens)
        result: NDArray[np.float32] = mean.float().cpu().numpy()
        return result


def describe(x: torch.Tensor) -> str:
    """The value of an input that is not finite, or its largest magnitude."""
    import torch

    wrong = x[~torch.isfinite(x)]
    return str(float(wrong[0])) if wrong.numel() else f"as large as {float(x.abs().max()):.3g}"
