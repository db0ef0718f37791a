"""Encoders: weights to codes. A codec is encoded here and decoded in runtime_ops."""

from __future__ import annotations

from edgecomp.encode.critical import encode_critical
from edgecomp.encode.indefinite import IndefiniteError
from edgecomp.encode.lattice_preset import encode_lattice
from edgecomp.encode.paper_preset import encode_paper
from edgecomp.encode.settings import (
    CrvqSettings,
    LatticeSettings,
    PaperSettings,
    Settings,
    SettingsError,
    TrellisSettings,
    UniformSettings,
    paper_settings_for_bits,
)
from edgecomp.encode.source import ArraySource, WeightError, WeightSource
from edgecomp.encode.trellis.tensor import InputStatistics, encode_trellis
from edgecomp.encode.uniform import encode_uniform
from runtime_ops.formats import EncodedTensor

__all__ = [
    "ArraySource",
    "CrvqSettings",
    "IndefiniteError",
    "InputStatistics",
    "LatticeSettings",
    "PaperSettings",
    "Settings",
    "SettingsError",
    "TrellisSettings",
    "UniformSettings",
    "WeightError",
    "WeightSource",
    "encode",
    "paper_settings_for_bits",
]


def encode(
    source: WeightSource,
    settings: Settings,
    name: str = "",
    statistics: InputStatistics | None = None,
) -> EncodedTensor:
    """The tensor encoded by these settings; WeightError for NaN, infinite or missing weights.

    Settings with critical columns look at the tensor's `name` where those are random, and at
    `statistics` of its input where they go by activation; so does the trellis's feedback.
    """
    if 0 in source.shape:
        raise WeightError(f"shape {source.shape} has no weights")
    match settings:
        case PaperSettings():
            return encode_paper(source, settings)
        case LatticeSettings(critical=0):
            return encode_lattice(source, settings)
        case LatticeSettings():
            diagonal = None if statistics is None else statistics.diagonal
            return encode_critical(source, settings, name, diagonal)
        case TrellisSettings():
            return encode_trellis(source, settings, name, statistics)
        case UniformSettings():
            return encode_uniform(source, settings)
        case CrvqSettings():  # linears of blocks need statistics: edgecomp.crvq encodes them
            return encode_lattice(source, settings.outer)
