"""The codec options of the command line, turned into settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Literal

import typer

from edgecomp.cli.crvq_options import CrvqOptions, Finetune, Importance, crvq_settings
from edgecomp.cli.trellis_options import SHARED, TrellisOptions, trellis_settings
from edgecomp.compression import Calibration
from edgecomp.compression.tensor_settings import ranks_by_activation
from edgecomp.encode import (
    CrvqSettings,
    LatticeSettings,
    PaperSettings,
    Settings,
    SettingsError,
    TrellisSettings,
    UniformSettings,
    paper_settings_for_bits,
)

__all__ = ["Codec", "Generator", "Preset", "SettingsOptions", "UsageError", "settings_from"]

LATTICE_TOO = ("critical", "importance", "seed")  # options of crvq that the lattice preset has


class UsageError(ValueError):
    """Options that do not go together; `hint` says which do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Codec(StrEnum):
    """The codecs that `compress` knows."""

    WINDING = "winding"
    CRVQ = "crvq"
    TRELLIS = "trellis"
    UNIFORM = "uniform"


class Preset(StrEnum):
    """The presets of the winding codec."""

    PAPER = "paper"
    LATTICE = "lattice"


class Generator(StrEnum):
    """Where the lattice preset's points come from."""

    KOROBOV = "korobov"
    GOLDEN = "golden"


Bits = Annotated[
    float | None,
    typer.Option(
        help="Bits per weight (default 4); trellis: 1, 1.5, 2 .. 4, 5, 6, 7 or 8; "
        "uniform: 2, 4 or 8."
    ),
]
Points = Annotated[
    list[int] | None,
    typer.Option(
        metavar="<int>",
        help="Points U of the winding, instead of --bits; paper: again for more, tried in order.",
    ),
]
Box = Annotated[float | None, typer.Option(help="paper: side l of the box.")]
Classes = Annotated[
    int | None, typer.Option(min=0, help="paper: outlier classes M beside class 0.")
]
MaxError = Annotated[
    float | None, typer.Option(help="paper: mean error that ends the search for points.")
]
TargetError = Annotated[
    float | None, typer.Option(help="paper: mean error that ends the search for classes.")
]
RawError = Annotated[
    str | None,
    typer.Option(
        metavar="<float|none>",
        help="paper: tensors with a larger mean error stay raw (default 0.006); none: none does.",
    ),
]
Group = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Weights that share a scale (lattice, default about 128; uniform, 32 or a multiple).",
    ),
]
Dim = Annotated[
    int | None,
    typer.Option(min=1, help="lattice: weights per index, 1 to 4; crvq: per code (default 8)."),
]
GeneratorName = Annotated[
    Generator | None, typer.Option(help="lattice: korobov (default, searched) or golden.")
]
Companding = Annotated[
    bool | None,
    typer.Option(
        "--companding/--no-companding",
        help="lattice: spread points like Gaussian weights (default) or evenly.",
    ),
]
Reach = Annotated[
    int | None,
    typer.Option(min=0, max=64, help="lattice: steps to each side that a scale is looked for."),
]


@dataclass(frozen=True)
class SettingsOptions:
    """What the user gave; None or () where nothing was said."""

    bits: float | None = None
    points: tuple[int, ...] = ()
    box: float | None = None
    classes: int | None = None
    max_error: float | None = None
    target_error: float | None = None
    raw_error: str | None = None
    group: int | None = None
    dim: int | None = None
    generator: Generator | None = None
    companding: bool | None = None
    reach: int | None = None
    critical_bits: float | None = None

    def given(self, *names: str) -> list[str]:
        """Those of the fields that the user gave, as options."""
        named = [name for name in names if getattr(self, name) is not None]
        return [f"--{name.replace('_', '-')}" for name in named]


def default_codec(preset: Preset | None, options: SettingsOptions) -> Codec:
    """The codec where none is named: winding for options that only it has, else the best one."""
    winding = preset is not None or winding_only(options) or options.dim is not None
    return Codec.WINDING if winding else Codec.TRELLIS


def settings_from(
    codec: Codec | None,
    preset: Preset | None,
    options: SettingsOptions,
    crvq: CrvqOptions,
    trellis: TrellisOptions,
) -> Settings:
    """The settings of a codec with what the user gave; UsageError when that does not fit."""
    codec = codec or default_codec(preset, options)
    try:
        if codec is Codec.TRELLIS:
            return trellis_only(preset, options, crvq, trellis)
        if trellis.given:
            raise UsageError(
                f"{trellis.given[0]} belongs to the trellis codec", "use --codec trellis"
            )
        if codec is Codec.UNIFORM:
            return uniform_only(preset, options, crvq)
        if codec is Codec.CRVQ:
            return crvq_only(preset, options, crvq)
        if options.bits is not None and options.points:
            raise UsageError("both --bits and --points are given", "give one of them")
        return PRESETS[preset or Preset.LATTICE](options, crvq)
    except SettingsError as error:
        message = str(error).replace("outer_bits", "--embedding-bits")
        raise UsageError(message, "edgecomp compress --help shows the options") from error


def winding_only(options: SettingsOptions) -> list[str]:
    """Those of the options given that only the winding codec has."""
    others = options.given(
        "box", "classes", "max_error", "target_error", "raw_error", "group", "generator",
        "companding", "reach",
    )  # fmt: skip
    return ["--points", *others] if options.points else others


def crvq_only(preset: Preset | None, options: SettingsOptions, crvq: CrvqOptions) -> CrvqSettings:
    """The crvq codec's settings; UsageError for options of the winding codec."""
    refuse_winding(preset, winding_only(options))
    others = options.given("bits", "critical_bits")
    if others:
        raise UsageError(
            f"{others[0]} belongs to the other codecs", "use --codec trellis, winding or uniform"
        )
    return crvq_settings(replace(crvq, dim=options.dim))


def trellis_only(
    preset: Preset | None, options: SettingsOptions, crvq: CrvqOptions, trellis: TrellisOptions
) -> TrellisSettings:
    """The trellis codec's settings; UsageError for options of the others."""
    refuse_winding(preset, [*winding_only(options), *options.given("dim")])
    refuse_crvq(crvq, set(SHARED))
    if crvq.importance is Importance.OBS:
        raise UsageError("--importance obs belongs to the crvq codec", "use --codec crvq")
    if crvq.critical is None and (options.critical_bits is not None or crvq.importance is not None):
        unused = "--importance" if options.critical_bits is None else "--critical-bits"
        raise UsageError(f"{unused} goes with --critical", "give --critical, such as 0.02, too")
    if crvq.finetune in (None, Finetune.NONE):
        refuse_unused({"--epochs": crvq.epochs, "--keep-codes": crvq.move_codes}, "--finetune")
    if trellis.feedback is False:
        refuse_unused({"--damping": crvq.damping}, "--feedback")
    return trellis_settings(options.bits, options.critical_bits, crvq, trellis)


def uniform_only(
    preset: Preset | None, options: SettingsOptions, crvq: CrvqOptions
) -> UniformSettings:
    """The uniform codec's settings; UsageError for options of the others."""
    others = [*winding_only(options), *options.given("dim")]
    refuse_winding(preset, [name for name in others if name != "--group"])
    refuse_crvq(crvq, set())
    if options.critical_bits is not None:
        raise UsageError("--critical-bits belongs to the other codecs", "use --codec trellis")
    settings = UniformSettings()
    bits = settings.bits if options.bits is None else options.bits
    group = settings.group if options.group is None else options.group
    return UniformSettings(bits, group)


def refuse_unused(values: dict[str, float | None], needed: str) -> None:
    """UsageError for options that were given without the one that makes use of them."""
    for option, value in values.items():
        if value is not None:
            raise UsageError(f"{option} goes with {needed}", f"give {needed} too, or leave it out")


def refuse_winding(preset: Preset | None, others: list[str]) -> None:
    """UsageError when an option of the winding codec is given."""
    if preset is not None:
        others = ["--preset", *others]
    if others:
        raise UsageError(f"{others[0]} belongs to the winding codec", "use --codec winding")


def check_calibration(settings: Settings, calibration: Calibration | None) -> None:
    """UsageError unless a calibration is given to settings that use one, and to crvq always."""
    tunes = isinstance(settings, TrellisSettings) and settings.finetune != "none"
    if isinstance(settings, CrvqSettings) or tunes:
        if calibration is None or calibration.text is None:
            what = "--finetune" if tunes else "--codec crvq"
            raise UsageError(
                f"{what} needs a calibration text", "give --calibration a UTF-8 text file"
            )
    elif calibration is not None and not uses_statistics(settings):
        raise UsageError(
            "these settings look at no text: --calibration, --statistics and --device are for "
            "trellis, crvq and critical columns",
            "use --codec trellis, --codec crvq or --critical, or leave them out",
        )


def uses_statistics(settings: Settings) -> bool:
    """Whether an encoder with these settings reads statistics of activations."""
    if isinstance(settings, TrellisSettings) and settings.feedback:
        return True
    return isinstance(settings, CrvqSettings) or ranks_by_activation(settings)


def refuse_crvq(crvq: CrvqOptions, allowed: set[str]) -> None:
    """UsageError when an option of the crvq codec is given that the preset does not have."""
    for name, value in vars(crvq).items():
        if value is not None and name not in allowed:
            if name in LATTICE_TOO:
                raise UsageError(
                    f"--{name} belongs to the lattice preset and to other codecs",
                    "use --preset lattice, --codec trellis or --codec crvq",
                )
            option = "embedding-bits" if name == "outer_bits" else name.replace("_", "-")
            if name in SHARED:
                raise UsageError(
                    f"--{option} belongs to the codecs trellis and crvq",
                    "use --codec trellis or --codec crvq",
                )
            raise UsageError(f"--{option} belongs to the crvq codec", "use --codec crvq")


def paper(options: SettingsOptions, crvq: CrvqOptions) -> PaperSettings:
    """The paper preset; published defaults for what was not given."""
    refuse_crvq(crvq, set())
    others = options.given("group", "dim", "generator", "companding", "reach", "critical_bits")
    if others:
        raise UsageError(f"{others[0]} belongs to the lattice preset", "use --preset lattice")
    settings = PaperSettings()
    if options.bits is not None:
        settings = paper_settings_for_bits(options.bits)
    return replace(
        settings,
        points=options.points or settings.points,
        box=settings.box if options.box is None else options.box,
        classes=settings.classes if options.classes is None else options.classes,
        max_error=settings.max_error if options.max_error is None else options.max_error,
        target_error=(
            settings.target_error if options.target_error is None else options.target_error
        ),
        raw_error=settings.raw_error if options.raw_error is None else limit(options.raw_error),
    )


def limit(text: str) -> float | None:
    """The number in the text, or None for `none`."""
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        hint = "give a mean error such as 0.006, or none"
        raise UsageError(f"--raw-error is {text!r}, expected a number or none", hint) from None


def lattice(options: SettingsOptions, crvq: CrvqOptions) -> LatticeSettings:
    """The lattice preset; its defaults for what was not given."""
    refuse_crvq(crvq, set(LATTICE_TOO))
    others = options.given("box", "classes", "max_error", "target_error", "raw_error")
    if others:
        raise UsageError(f"{others[0]} belongs to the paper preset", "use --preset paper")
    importance = lattice_importance(crvq)
    if crvq.critical is None and (options.critical_bits is not None or crvq.importance is not None):
        unused = "--importance" if options.critical_bits is None else "--critical-bits"
        raise UsageError(f"{unused} goes with --critical", "give --critical, such as 0.02, too")
    if len(options.points) > 1:
        raise UsageError("--points is given twice", "only the paper preset tries several")
    settings = LatticeSettings()
    return LatticeSettings(
        bits=settings.bits if options.bits is None else options.bits,
        points=options.points[0] if options.points else None,
        group=options.group or 0,
        dim=options.dim or 0,
        generator=(options.generator or Generator.KOROBOV).value,
        companded=options.companding is not False,
        reach=settings.reach if options.reach is None else options.reach,
        critical=settings.critical if crvq.critical is None else crvq.critical,
        critical_bits=(
            settings.critical_bits if options.critical_bits is None else options.critical_bits
        ),
        importance=importance,
        seed=crvq.seed or 0,
    )


def lattice_importance(crvq: CrvqOptions) -> Literal["activation", "weight", "random"]:
    """The importance that the lattice preset is asked for."""
    match crvq.importance:
        case None | Importance.ACTIVATION:
            return "activation"
        case Importance.WEIGHT:
            return "weight"
        case Importance.RANDOM:
            return "random"
        case Importance.OBS:
            raise UsageError("--importance obs belongs to the crvq codec", "use --codec crvq")


PRESETS: dict[Preset, Callable[[SettingsOptions, CrvqOptions], Settings]] = {
    Preset.PAPER: paper,
    Preset.LATTICE: lattice,
}
