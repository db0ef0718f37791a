"""The codec options of the command line, turned into settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from edgecomp.encode import (
    LatticeSettings,
    PaperSettings,
    Settings,
    SettingsError,
    paper_settings_for_bits,
)

__all__ = ["Codec", "Generator", "Preset", "SettingsOptions", "UsageError", "settings_from"]


class UsageError(ValueError):
    """Options that do not go together; `hint` says which do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Codec(StrEnum):
    """The codecs that `compress` knows."""

    WINDING = "winding"


class Preset(StrEnum):
    """The presets of the winding codec."""

    PAPER = "paper"
    LATTICE = "lattice"


class Generator(StrEnum):
    """Where the lattice preset's points come from."""

    KOROBOV = "korobov"
    GOLDEN = "golden"


@dataclass(frozen=True)
class SettingsOptions:
    """What the user gave; None where nothing was said."""

    bits: float | None = None
    points: int | None = None
    box: float | None = None
    classes: int | None = None
    group: int | None = None
    dim: int | None = None
    generator: Generator | None = None
    companding: bool | None = None


def settings_from(preset: Preset, options: SettingsOptions) -> Settings:
    """The settings of a preset with what the user gave; UsageError when that does not fit."""
    if options.bits is not None and options.points is not None:
        raise UsageError("both --bits and --points are given", "give one of them")
    try:
        return paper(options) if preset is Preset.PAPER else lattice(options)
    except SettingsError as error:
        raise UsageError(str(error), "edgecomp compress --help shows the options") from error


def paper(options: SettingsOptions) -> PaperSettings:
    """The paper preset; published defaults for what was not given."""
    lattice_only = (options.group, options.dim, options.generator, options.companding)
    if any(option is not None for option in lattice_only):
        raise UsageError(
            "--group, --dim, --generator and --companding belong to the lattice preset",
            "use --preset lattice, or --points, --box and --classes",
        )
    settings = PaperSettings()
    if options.bits is not None:
        settings = paper_settings_for_bits(options.bits)
    if options.points is not None:
        settings = replace(settings, points=(options.points,))
    if options.box is not None:
        settings = replace(settings, box=options.box)
    if options.classes is not None:
        settings = replace(settings, classes=options.classes)
    return settings


def lattice(options: SettingsOptions) -> LatticeSettings:
    """The lattice preset; its defaults for what was not given."""
    if options.box is not None or options.classes is not None:
        raise UsageError(
            "--box and --classes belong to the paper preset", "use --preset paper, or --group"
        )
    return LatticeSettings(
        bits=4.0 if options.bits is None else options.bits,
        points=options.points,
        group=options.group or 0,
        dim=options.dim or 0,
        generator=(options.generator or Generator.KOROBOV).value,
        companded=options.companding is not False,
    )
