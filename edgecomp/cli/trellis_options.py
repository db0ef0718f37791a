"""The options of the trellis codec, which it shares with crvq where they mean the same."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from edgecomp.cli.crvq_options import CrvqOptions
from edgecomp.encode import TrellisSettings

__all__ = [
    "EmbeddingCodec",
    "EmbeddingCodecName",
    "Feedback",
    "Refit",
    "Rotate",
    "StateBits",
    "TableEntries",
    "TrellisOptions",
    "trellis_settings",
]

# Options of crvq that the trellis codec has too.
SHARED = ("critical", "importance", "finetune", "move_codes", "epochs", "outer_bits", "damping",
          "seed")  # fmt: skip


class EmbeddingCodec(StrEnum):
    """The codecs of embeddings and head beside trellises."""

    TRELLIS = "trellis"
    UNIFORM = "uniform"


StateBits = Annotated[
    int | None,
    typer.Option(help="trellis: bits of a state: 8 (fastest), 10, 12 (default) or 16 (best)."),
]
TableEntries = Annotated[
    int | None,
    typer.Option(
        help="trellis: values of its table: 16, 64 or 256 (default 256, or more where it pays)."
    ),
]
Refit = Annotated[
    bool | None,
    typer.Option(
        "--refit/--no-refit",
        help="trellis: fit a table to each kind of tensor, or take the Gaussian one (default).",
    ),
]
Rotate = Annotated[
    bool | None,
    typer.Option(
        "--rotate/--no-rotate", help="trellis: spread outliers over a matrix's columns (default)."
    ),
]
Feedback = Annotated[
    bool | None,
    typer.Option(
        "--feedback/--no-feedback",
        help="trellis: let later columns make up for errors, by the calibration (default).",
    ),
]
EmbeddingCodecName = Annotated[
    EmbeddingCodec | None,
    typer.Option(
        help="trellis: codec of embeddings and head: trellis (default) or uniform (fast to read)."
    ),
]


@dataclass(frozen=True)
class TrellisOptions:
    """What the user gave; None where nothing was said. Fields go by the settings' names."""

    state_bits: int | None = None
    table_entries: int | None = None
    refit: bool | None = None
    rotate: bool | None = None
    feedback: bool | None = None
    embedding_codec: EmbeddingCodec | None = None

    @property
    def given(self) -> list[str]:
        """Those that the user gave, as options."""
        return [
            f"--{name.replace('_', '-')}" for name, value in vars(self).items() if value is not None
        ]


def trellis_settings(
    bits: float | None, critical_bits: float | None, shared: CrvqOptions, own: TrellisOptions
) -> TrellisSettings:
    """The codec's defaults with what the user gave; SettingsError when that does not fit."""
    values = {"bits": bits, "critical_bits": critical_bits, **vars(own)}
    values |= {name: getattr(shared, name) for name in SHARED}
    given: dict[str, Any] = {
        name: value.value if isinstance(value, StrEnum) else value
        for name, value in values.items()
        if value is not None
    }
    return TrellisSettings(**given)
