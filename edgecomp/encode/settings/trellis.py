"""Settings of the trellis codec."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from edgecomp.encode.settings.crvq import BLOCK_SHARE, MIN_DAMPING, Finetune
from edgecomp.encode.settings.error import SettingsError
from edgecomp.encode.settings.uniform import UniformSettings
from edgecomp.encode.settings.winding import MOST_CRITICAL, ColumnImportance
from runtime_ops.formats.trellis import STATE_BITS
from runtime_ops.formats.uniform import UNIFORM_BITS

StateBits = Literal[8, 10, 12, 16]
EmbeddingCodec = Literal["trellis", "uniform"]
TRELLIS_BITS = (1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8)
TABLE_ENTRIES = (16, 64, 256)
HIGH_BITS = 12  # state bits of the rates above 4, whatever is asked for
INTEGER_BITS = 8.0  # of embeddings and head as group integers
SCALE_BITS = 0.25  # a weight's share of its row's scale and its band's tail, at most about


@dataclass(frozen=True, slots=True)
class TrellisSettings:
    """A winding read through a shift register: design page section 4, docs/trellis.md.

    Matrices take `bits` per weight, embeddings and head `outer_bits` (None: one more than `bits`,
    at most 8), by the best known trellis of 2**state_bits states. Its values are a table of 256, or
    1,024 above 3 bits with 65,536 states, and 4,096 of 16 bits above 6 bits; `table_entries` makes
    the first two smaller. `refit` fits a table to the weights of each kind of tensor. An error in a
    row counts the row's mean square to the `row_power`, beside other rows of its band: 1 is what a
    product asks for, embeddings take half of it, since rows that are looked up are normalised
    later. `rotate` applies a seeded Hadamard rotation to a matrix's input; `feedback` lets an error
    move the targets of columns that come later, by the Hessian of a calibration (without one there
    is none); `damping` is added to its diagonal, in units of its mean. A share `critical` of the
    input columns, those with the highest `importance`, takes `critical_bits`. `finetune` "block"
    tunes scales and norms block by block, `epochs` times over the calibration text, "end-to-end"
    those and tables of the whole model; `move_codes` moves codes as well (where it does not,
    "end-to-end" comes after blocks). With `embedding_codec` "uniform" embeddings and head are group
    integers of `outer_bits` (2, 4 or 8; None: 8) instead, which are read faster than trellis codes.
    """

    bits: float = 4.0
    state_bits: StateBits = 12
    outer_bits: float | None = None
    table_entries: int | None = None
    refit: bool = False
    row_power: float = 1.0
    rotate: bool = True
    feedback: bool = True
    damping: float = 0.05
    critical: float = 0.0
    critical_bits: float = 4.0
    importance: ColumnImportance = "activation"
    finetune: Finetune = "none"
    move_codes: bool = True
    epochs: float = 1.0
    seed: int = 0
    embedding_codec: EmbeddingCodec = "trellis"
    codec: ClassVar[str] = "trellis"
    preset: ClassVar[str] = "trellis"

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, expected: str) -> None:
            if not ok:
                raise SettingsError(f"{field} is {getattr(self, field)}, expected {expected}")

        rates = ", ".join(f"{rate:g}" for rate in TRELLIS_BITS)
        need(self.bits in TRELLIS_BITS, "bits", f"one of {rates}")
        need(self.outer_bits in (None, *TRELLIS_BITS), "outer_bits", f"one of {rates}")
        codecs = ("trellis", "uniform")
        need(self.embedding_codec in codecs, "embedding_codec", " or ".join(codecs))
        if self.embedding_codec == "uniform":
            integers = (None, *UNIFORM_BITS)
            need(self.outer_bits in integers, "outer_bits", "2, 4 or 8 with the uniform codec")
        need(self.critical_bits in TRELLIS_BITS, "critical_bits", f"one of {rates}")
        states = ", ".join(map(str, STATE_BITS))
        need(self.state_bits in STATE_BITS, "state_bits", f"one of {states}")
        need(self.table_entries in (None, *TABLE_ENTRIES), "table_entries", "16, 64 or 256")
        need(MIN_DAMPING <= self.damping <= 10, "damping", f"{MIN_DAMPING}..10")
        need(0 <= self.row_power <= 1, "row_power", "0..1")
        need(0 <= self.critical <= MOST_CRITICAL, "critical", f"0..{MOST_CRITICAL}")
        importances = ("activation", "weight", "random")
        need(self.importance in importances, "importance", " or ".join(importances))
        tunings = ("none", "block", "end-to-end")
        need(self.finetune in tunings, "finetune", " or ".join(tunings))
        need(0 < self.epochs <= 1000, "epochs", "more than 0, at most 1000")
        need(0 <= self.seed < 1 << 32, "seed", f"0..{(1 << 32) - 1}")

    @property
    def block_epochs(self) -> float:
        """How often block tuning reads the calibration text."""
        return self.epochs * (BLOCK_SHARE if self.finetune == "end-to-end" else 1)

    @property
    def chosen_outer_bits(self) -> float:
        """Bits per weight of embeddings and head."""
        if self.outer_bits is not None:
            return self.outer_bits
        if self.embedding_codec == "uniform":
            return INTEGER_BITS
        return min(rate for rate in (*TRELLIS_BITS, 9) if rate >= min(8, self.bits + 1))

    @property
    def outer_integers(self) -> UniformSettings | None:
        """Settings for embeddings and head where they are group integers, else None."""
        if self.embedding_codec != "uniform":
            return None
        return UniformSettings(self.chosen_outer_bits)

    @property
    def outer(self) -> TrellisSettings:
        """Settings for embeddings and head as trellises, which have no critical columns."""
        return replace(self, bits=self.chosen_outer_bits, critical=0.0)

    def states_at(self, bits: float) -> int:
        """State bits of the trellis of a rate."""
        return HIGH_BITS if bits > 4 else self.state_bits

    @property
    def passes(self) -> int:
        """How often an encoder reads the weights: to rank columns, and to encode."""
        return 2 if self.critical else 1

    @property
    def expected_bpw(self) -> float:
        """Bits per weight, at most: those of embeddings, which a model may consist of."""
        integers = self.outer_integers
        outer = self.chosen_outer_bits if integers is None else integers.expected_bpw
        return max(outer, self.bits, self.critical_bits) + SCALE_BITS
