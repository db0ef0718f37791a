"""Trellis codes of a linear, as tuning sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgecomp.trellis.lookup import looked_up, rotated
from runtime_ops import reference
from runtime_ops.formats import TrellisFormat

__all__ = ["CodedSpan", "TrellisTensor", "coded_span"]


@dataclass
class CodedSpan:
    """Codes of `width` columns from `first` on, in the order in which they are stored.

    The table is number `book` of the tensor's group; that of the format is only a start.
    """

    format: TrellisFormat
    first: int
    width: int
    book: int
    codes: Tensor  # uint8, as in a file
    places: Tensor  # uint8 or int16 (rows, width), of each weight in the table
    signs: Tensor  # float32 (width,), of the rotation

    def to(self, device: torch.device) -> CodedSpan:
        """The span on a device."""
        codes, places, signs = (t.to(device) for t in (self.codes, self.places, self.signs))
        return replace(self, codes=codes, places=places, signs=signs)


@dataclass
class TrellisTensor:
    """A linear's codes. `order` says which column lies at each position; None: as they come."""

    name: str
    group: str  # whose tables it uses
    order: Tensor | None  # int64 (columns,)
    scales: Tensor  # float32 (spans * rows,), of one span after the other
    spans: list[CodedSpan]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the linear's weight."""
        return len(self.scales) // len(self.spans), sum(span.width for span in self.spans)

    def stored(self, scales: Tensor, tables: Sequence[Tensor]) -> Tensor:
        """The weights in stored order, still rotated, float (rows, columns)."""
        parts = [
            part[:, None] * looked_up(span.places, tables[span.book])
            for span, part in zip(self.spans, scales.chunk(len(self.spans)), strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def product(self, x: Tensor, stored: Tensor, bias: Tensor | None) -> Tensor:
        """y = W x + b, float (..., rows), of rotated weights and x (..., columns)."""
        if self.order is not None:
            x = x.index_select(-1, self.order)
        inputs = []
        for span in self.spans:
            part = x[..., span.first : span.first + span.width]
            if span.format.rotation:
                part = rotated(part * span.signs.to(x.dtype), span.format.rotation)
            inputs.append(part)
        whole = inputs[0] if len(inputs) == 1 else torch.cat(inputs, -1)
        return torch.nn.functional.linear(whole, stored, bias)

    def decode(self, tables: Sequence[Tensor]) -> Tensor:
        """The linear's weights, float (rows, columns)."""
        stored = self.stored(self.scales, tables)
        parts = []
        for span in self.spans:
            part = stored[:, span.first : span.first + span.width]
            if span.format.rotation:
                part = rotated(part, span.format.rotation) * span.signs.to(part.dtype)
            parts.append(part)
        whole = torch.cat(parts, 1)
        if self.order is None:
            return whole
        return torch.empty_like(whole).index_copy(1, self.order, whole)

    def set_codes(self, i: int, codes: NDArray[np.uint8]) -> None:
        """Takes other codes for span i."""
        span = self.spans[i]
        device = span.codes.device
        found = places_of(span.format, codes, (self.shape[0], span.width))
        span.codes = torch.from_numpy(codes).to(device)
        span.places = torch.from_numpy(found).to(device)


def coded_span(
    fmt: TrellisFormat, place: tuple[int, int, int], codes: NDArray[np.uint8], rows: int
) -> CodedSpan:
    """The span of a format with its codes; `place` is first column, width, and number of table."""
    first, width, book = place
    places = torch.from_numpy(places_of(fmt, codes, (rows, width)))
    signs = torch.from_numpy(reference.signs(fmt, width) if fmt.rotation else np.ones(width, "f4"))
    return CodedSpan(fmt, first, width, book, torch.from_numpy(codes), places, signs)


def places_of(
    fmt: TrellisFormat, codes: NDArray[np.uint8], shape: tuple[int, int]
) -> NDArray[np.generic]:
    """The place in the table of every weight, uint8 or int16 (rows, columns)."""
    states = reference.trellis_states(fmt, {"codes": codes}, shape)
    places = reference.trellis_places(fmt, states, shape)
    return np.ascontiguousarray(places, np.uint8 if fmt.table_bits <= 8 else np.int16)
