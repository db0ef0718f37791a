"""What a user asks an encoder for."""

from edgecomp.encode.settings.crvq import CrvqSettings
from edgecomp.encode.settings.error import SettingsError
from edgecomp.encode.settings.trellis import TrellisSettings
from edgecomp.encode.settings.uniform import UniformSettings
from edgecomp.encode.settings.winding import (
    LatticeSettings,
    PaperSettings,
    packed_bits,
    paper_settings_for_bits,
)

__all__ = [
    "CrvqSettings",
    "LatticeSettings",
    "PaperSettings",
    "Settings",
    "SettingsError",
    "TrellisSettings",
    "UniformSettings",
    "packed_bits",
    "paper_settings_for_bits",
]

Settings = PaperSettings | LatticeSettings | CrvqSettings | TrellisSettings | UniformSettings
