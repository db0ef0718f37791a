"""The options of the crvq codec, some of which other codecs have as well."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from edgecomp.compression import Calibration
from edgecomp.encode import CrvqSettings

__all__ = ["CrvqOptions", "calibration_from", "crvq_settings"]


class Importance(StrEnum):
    """How critical columns are found."""

    OBS = "obs"
    ACTIVATION = "activation"
    WEIGHT = "weight"
    RANDOM = "random"


class Finetune(StrEnum):
    """How far codes are tuned."""

    NONE = "none"
    BLOCK = "block"
    END_TO_END = "end-to-end"


class Share(StrEnum):
    """Which tensors share codebooks."""

    AUTO = "auto"
    TENSOR = "tensor"
    KIND = "kind"
    MODEL = "model"


class Allocation(StrEnum):
    """Where critical columns are spent."""

    EVEN = "even"
    MEASURED = "measured"


class Initialisation(StrEnum):
    """How codes start."""

    HESSIAN = "hessian"
    GREEDY = "greedy"


class CriticalCodes(StrEnum):
    """How critical columns are stored."""

    CODEBOOKS = "codebooks"
    SCALAR = "scalar"


CodebookBits = Annotated[int | None, typer.Option(help="crvq: bits of a code (default 8).")]
Extended = Annotated[
    int | None, typer.Option(help="crvq: codes more for critical columns (default 3).")
]
Critical = Annotated[
    float | None,
    typer.Option(help="Share of the input columns that are critical (crvq 0.02, others 0)."),
]
CriticalBits = Annotated[
    float | None, typer.Option(help="Bits per weight of critical columns (lattice 8, trellis 4).")
]
CriticalCodesName = Annotated[
    CriticalCodes | None,
    typer.Option(
        help="crvq: critical columns by extended codebooks (default) or as 4-bit scalars."
    ),
]
ImportanceName = Annotated[
    Importance | None,
    typer.Option(
        help="Columns by the paper's metric (obs, crvq's default), that of its code (activation, "
        "the others' default), mean weight, or at random."
    ),
]
AllocationName = Annotated[
    Allocation | None,
    typer.Option(
        help="crvq: critical columns where they lower the loss most (measured, default), or even."
    ),
]
InitialisationName = Annotated[
    Initialisation | None,
    typer.Option(help="crvq: codebooks from weights and statistics (default), or k-means alone."),
]
Sweeps = Annotated[
    int | None, typer.Option(help="crvq: rounds of solves and coordinate descent (default 3).")
]
ShareName = Annotated[
    Share | None, typer.Option(help="crvq: tensors that share codebooks (default: measured).")
]
FinetuneName = Annotated[
    Finetune | None,
    typer.Option(
        help="Tune nothing (trellis's default), block by block, or the whole model (crvq's)."
    ),
]
MoveCodes = Annotated[
    bool | None,
    typer.Option("--move-codes/--keep-codes", help="Codes move in tuning (default) or stay."),
]
Epochs = Annotated[float | None, typer.Option(help="How often tuning reads the text (default 1).")]
EmbeddingBits = Annotated[
    float | None,
    typer.Option(
        help="Bits per weight of embeddings and head (crvq: 4; trellis: about --bits + 1; 8 with "
        "--embedding-codec uniform)."
    ),
]
Damping = Annotated[
    float | None,
    typer.Option(help="Added to the Hessian's diagonal, in units of its mean (default 0.05)."),
]
Seed = Annotated[int | None, typer.Option(help="Of everything drawn at random (default 0).")]
CalibrationText = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        help="UTF-8 text that codes are fitted to; crvq needs one, trellis gains.",
    ),
]
StatisticsPath = Annotated[
    Path | None,
    typer.Option("--statistics", help="Result of `edgecomp calibrate`; else gathered now."),
]
Context = Annotated[
    int | None,
    typer.Option(
        min=8, help="Tokens in a window of the text (default 256, or the model's context)."
    ),
]
Device = Annotated[
    str | None, typer.Option(help="Where torch works: auto (default), cpu, cuda ...")
]


@dataclass(frozen=True)
class CrvqOptions:
    """What the user gave; None where nothing was said. Fields go by the settings' names."""

    dim: int | None = None
    codebook_bits: int | None = None
    extended: int | None = None
    critical: float | None = None
    critical_codes: CriticalCodes | None = None
    importance: Importance | None = None
    allocation: Allocation | None = None
    initialisation: Initialisation | None = None
    sweeps: int | None = None
    share: Share | None = None
    finetune: Finetune | None = None
    move_codes: bool | None = None
    epochs: float | None = None
    outer_bits: float | None = None
    damping: float | None = None
    seed: int | None = None


def crvq_settings(options: CrvqOptions) -> CrvqSettings:
    """The codec's defaults with what the user gave; SettingsError when that does not fit."""
    given: dict[str, Any] = {
        name: value.value if isinstance(value, StrEnum) else value
        for name, value in vars(options).items()
        if value is not None
    }
    return replace(CrvqSettings(), **given)


def calibration_from(
    text: Path | None,
    statistics: Path | None,
    context: int | None,
    device: str | None,
    damping: float | None,
) -> Calibration | None:
    """The calibration that was asked for, if any; BadParameter for options of one without it."""
    if text is None and statistics is None:
        given = {"--context": context, "--device": device, "--damping": damping}
        for option, value in given.items():
            if value is not None:
                raise typer.BadParameter(f"{option} goes with --calibration or --statistics")
        return None
    return Calibration(text, statistics, context=context, device=device or "auto")
