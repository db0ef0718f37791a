"""Codes that are made while a model is tuned: linear after linear, and the rest makes up for it.

At the start only the first linears have codes, the others float weights, which are tuned. Then one
site after the other is encoded, in the order in which they run, and what is still float moves so
that the error of what has codes costs less.

The other way, codes that are searched again without feedback after gradients moved their targets,
was tried for a few steps only: on bookworm at 2 bits nothing moved at a small rate, and half of the
codes at a larger one, with a loss of 0.16 instead of 0.05.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgecomp.encode.indefinite import IndefiniteError
from edgecomp.encode.source import WeightError
from edgecomp.encode.trellis.matrix import MatrixEncoder, Span
from edgecomp.trellis.coded_model import rounded_code
from edgecomp.trellis.coded_tensor import TrellisTensor
from edgecomp.tuning.coded_linear import CodedLinear
from edgecomp.tuning.tuner import TuningError

__all__ = ["Sources", "TurnCoder"]

# On bookworm at 2 bits, an epoch of 106 steps: KL divergence on other text 0.0507 at first, 0.0410
# with these, 0.0434 with a rate of 0.01 and a share of 0.6.
WEIGHT_RATE = 3e-3  # of float weights, in units of their matrix's root mean square
CODING_SHARE = 0.5  # of all steps, when the last linear gets its codes


@dataclass(frozen=True)
class Sources:
    """What codes are made from.

    `weight` gives the float32 (rows, columns) of a tensor, `hessian` the damped float64 (columns,
    columns) of its input or None, without which there is no feedback. `sites` are the tensors that
    read the same input, in the order in which they run. For `row_power` see TrellisSettings.
    """

    weight: Callable[[str], NDArray[np.float32]]
    hessian: Callable[[str], NDArray[np.float64] | None]
    sites: tuple[tuple[str, ...], ...]
    row_power: float = 1.0


@dataclass
class TurnCoder:
    """Encodes the linears of a network in turn, over `n_steps` steps.

    The first site keeps the codes that it has, all others get float weights now.
    """

    sources: Sources
    linears: Sequence[CodedLinear[TrellisTensor]]
    n_steps: int
    done: int = 0
    turns: list[list[CodedLinear[TrellisTensor]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        own = {linear.tensor.name: linear for linear in self.linears}
        sites = [[own[name] for name in site if name in own] for site in self.sources.sites]
        self.turns = [site for site in sites if site][1:]
        self.n_turns = len(self.turns)
        for linear in (linear for turn in self.turns for linear in turn):
            device = linear.log_scales.device
            weight = torch.from_numpy(self.sources.weight(linear.tensor.name)).to(device)
            linear.latent = nn.Parameter(weight.clone())

    @property
    def held_steps(self) -> int:
        """Steps until all linears have codes; scales need the rest to settle."""
        return int(CODING_SHARE * self.n_steps)

    def rated(self) -> list[tuple[list[nn.Parameter], float]]:
        """The float weights, each with its rate."""
        found = []
        for linear in (linear for turn in self.turns for linear in turn):
            assert linear.latent is not None, "linears that are not encoded yet are float"
            size = float(linear.latent.detach().square().mean().sqrt())
            found.append(([linear.latent], WEIGHT_RATE * size))
        return found

    def step(self, fade: float) -> None:
        """Encodes the sites whose turn it is."""
        self.done += 1
        share = min(1.0, self.done / max(1, self.held_steps))
        while self.n_turns - len(self.turns) < int(share * self.n_turns):
            for linear in self.turns.pop(0):
                encode_linear(linear, self.sources)


def encode_linear(linear: CodedLinear[TrellisTensor], sources: Sources) -> None:
    """Gives a linear the codes and scales of its float weights, with its tables as they are.

    IndefiniteError for a Hessian without a Cholesky factor, TuningError for weights that have grown
    too large to encode.
    """
    assert linear.latent is not None, "a linear that is encoded is float"
    tensor = linear.tensor
    weight = linear.latent.detach().cpu().numpy()
    hessian = sources.hessian(tensor.name)
    if tensor.order is not None:
        order = tensor.order.cpu().numpy()
        weight = weight[:, order]
        hessian = None if hessian is None else np.ascontiguousarray(hessian[order][:, order])
    spans = spans_of(tensor, list(linear.books))
    try:
        device = str(linear.log_scales.device)
        encoder = MatrixEncoder(spans, hessian, device, sources.row_power)
        coded = encoder.encode(np.ascontiguousarray(weight))
    except np.linalg.LinAlgError as error:
        raise IndefiniteError(tensor.name) from error
    except WeightError as error:
        raise TuningError(f"tensor {tensor.name}: {error}") from error
    for i, part in enumerate(coded):
        tensor.set_codes(i, part.codes)
    scales = [part.scales / span.code.unit for part, span in zip(coded, spans, strict=True)]
    linear.set_scales(torch.from_numpy(np.concatenate(scales).astype(np.float32)))
    linear.latent = None


def spans_of(tensor: TrellisTensor, tables: Sequence[Tensor]) -> list[Span]:
    """The spans with the tables as a file would hold them."""
    found = []
    for span in tensor.spans:
        code = rounded_code(span.format, tables[span.book])
        fmt = code.format(span.format.rotation, span.format.seed)
        fmt = replace(span.format, table=fmt.table)
        found.append(Span(code, fmt, span.first, span.first + span.width))
    return found
