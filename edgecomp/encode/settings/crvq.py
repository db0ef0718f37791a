"""Settings of the crvq codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from edgecomp.encode.settings.error import SettingsError
from edgecomp.encode.settings.winding import MAX_BITS, MIN_BITS, LatticeSettings
from runtime_ops.formats.crvq import CRVQ_DIMS, MAX_CODE_BITS, MAX_STAGES

# Tuning the whole model repeats most of block tuning's work: on bookworm, 0.3 epochs of blocks
# before it take half its time again and lower the KL divergence from 0.2876 to 0.2854 only.
BLOCK_SHARE = 0.25
CrvqImportance = Literal["obs", "activation", "weight", "random"]
CriticalCodes = Literal["codebooks", "scalar"]
Allocation = Literal["even", "measured"]
Initialisation = Literal["hessian", "greedy"]
Share = Literal["auto", "tensor", "kind", "model"]
CodebookDtype = Literal["auto", "int8", "int16"]
Finetune = Literal["none", "block", "end-to-end"]
CRVQ_CHOICES: dict[str, tuple[str, ...]] = {
    "critical_codes": get_args(CriticalCodes),
    "allocation": get_args(Allocation),
    "importance": get_args(CrvqImportance),
    "initialisation": get_args(Initialisation),
    "share": get_args(Share),
    "codebook_dtype": get_args(CodebookDtype),
    "finetune": get_args(Finetune),
}
MIN_DAMPING = 1e-4  # with less, a Hessian of few tokens is singular in the precision of its sums


@dataclass(frozen=True, slots=True)
class CrvqSettings:
    """Additive codebooks with critical columns: CRVQ (arXiv 2412.09282), crvq.md 1, 2 and 5.4.

    Groups of `dim` weights take one of 2**codebook_bits codewords. The columns with the highest
    `importance`, a share `critical` of all, get `extended` codewords more (with `critical_codes`
    "scalar": a 4-bit number each instead). `sweeps` is the number of rounds of codebook solves and
    coordinate descent; `initialisation` "greedy" starts as published, with residual k-means and no
    error feedback. Codebooks are shared by `share`: one tensor, all of a kind, or the whole model.
    `finetune` "block" tunes codebooks, scales and norms block by block, `epochs` times over the
    calibration text; "end-to-end" tunes all of them together as often, and blocks before that
    `BLOCK_SHARE` as often. `move_codes` moves codes as well. What is not a linear layer of a block
    (embeddings, head) takes the lattice preset's `outer_bits`. `damping` is added to the Hessian's
    diagonal, in units of its mean.
    """

    dim: int = 8
    codebook_bits: int = 8
    extended: int = 3
    critical: float = 0.02
    critical_codes: CriticalCodes = "codebooks"
    allocation: Allocation = "measured"
    importance: CrvqImportance = "obs"
    initialisation: Initialisation = "hessian"
    sweeps: int = 3
    share: Share = "auto"
    codebook_dtype: CodebookDtype = "auto"
    finetune: Finetune = "end-to-end"
    move_codes: bool = True
    epochs: float = 1.0
    outer_bits: float = 4.0
    damping: float = 0.05
    seed: int = 0
    codec: ClassVar[str] = "crvq"
    preset: ClassVar[str] = "crvq"

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, expected: str) -> None:
            if not ok:
                raise SettingsError(f"{field} is {getattr(self, field)}, expected {expected}")

        need(self.dim in CRVQ_DIMS, "dim", f"one of {', '.join(map(str, CRVQ_DIMS))}")
        need(1 <= self.codebook_bits <= MAX_CODE_BITS, "codebook_bits", f"1..{MAX_CODE_BITS}")
        need(1 <= self.extended < MAX_STAGES, "extended", f"1..{MAX_STAGES - 1}")
        need(0 <= self.critical <= 1, "critical", "a share of the columns, 0..1")
        need(0 <= self.sweeps <= 100, "sweeps", "0..100")
        need(0 < self.epochs <= 1000, "epochs", "more than 0, at most 1000")
        need(MIN_DAMPING <= self.damping <= 1, "damping", f"{MIN_DAMPING}..1")
        need(0 <= self.seed < 1 << 63, "seed", "0 or more")
        need(MIN_BITS <= self.outer_bits <= MAX_BITS, "outer_bits", f"{MIN_BITS}..{MAX_BITS:g}")
        for name, choices in CRVQ_CHOICES.items():
            need(getattr(self, name) in choices, name, " or ".join(choices))

    @property
    def block_epochs(self) -> float:
        """How often block tuning reads the calibration text."""
        return self.epochs * (BLOCK_SHARE if self.finetune == "end-to-end" else 1)

    @property
    def outer(self) -> LatticeSettings:
        """Settings for matrices outside of the blocks."""
        return LatticeSettings(bits=self.outer_bits)

    @property
    def passes(self) -> int:
        """How often an encoder reads the weights of a matrix outside of the blocks."""
        return self.outer.passes

    @property
    def expected_bpw(self) -> float:
        """Bits per weight, at most: those of embeddings, which a model may consist of."""
        return max(self.outer.expected_bpw, self.codebook_bits / self.dim * (1 + self.extended))
