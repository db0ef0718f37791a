"""Settings of the winding codec: the presets `paper` and `lattice`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

from edgecomp.encode.settings.error import SettingsError
from runtime_ops.formats.winding import MAX_CLASSES, MAX_GROUP, MAX_POINTS, radix_digits

PAPER_MAX_POINTS = 1 << 16  # up to here frac(k / m) is exact in 32 bits
DEFAULT_GROUP = 128
MOST_CRITICAL = 0.5  # share of the columns
MIN_BITS, MAX_BITS = 0.25, math.log2(MAX_POINTS)  # per weight, of the lattice preset
ColumnImportance = Literal["activation", "weight", "random"]
LatticeGenerator = Literal["korobov", "golden"]
LATTICE_CHOICES: dict[str, tuple[str, ...]] = {
    "generator": get_args(LatticeGenerator),
    "importance": get_args(ColumnImportance),
}


@dataclass(frozen=True, slots=True)
class PaperSettings:
    """The published scheme (Hyper-Compression, arXiv 2409.00592; hyper.md 2).

    Pairs of weights, a box of side `box` around the tensor's mean pair, `points` numbers of points
    to try in ascending order, up to `classes` radial classes for what is outside the box. The
    largest mean absolute error that ends the search is `target_error` for classes and `max_error`
    for points; a tensor with more than `raw_error` stays raw (None: never). The defaults are the
    ones published for language models; for images points = 225, classes = 3 and box = 0.1, or
    1600, 4 and 0.8, with raw_error None.
    """

    points: tuple[int, ...] = (1600,)
    box: float = 0.1
    classes: int = 3
    max_error: float = 1e-3
    target_error: float = 1e-3
    raw_error: float | None = 0.006
    codec: ClassVar[str] = "winding"
    preset: ClassVar[str] = "paper"

    def __post_init__(self) -> None:
        if not self.points or any(not 2 <= u <= PAPER_MAX_POINTS for u in self.points):
            raise SettingsError(f"points are {self.points}, expected 2..{PAPER_MAX_POINTS}")
        if not (math.isfinite(self.box) and 2.0**-32 <= self.box <= 2.0**32):
            raise SettingsError(f"box is {self.box}, expected a side between 2**-32 and 2**32")
        if list(self.points) != sorted(set(self.points)):
            raise SettingsError(f"points are {self.points}, expected an ascending list")
        if not 0 <= self.classes < MAX_CLASSES:
            raise SettingsError(f"classes is {self.classes}, expected 0..{MAX_CLASSES - 1}")
        for name in ("max_error", "target_error", "raw_error"):
            value = getattr(self, name)
            if not (value is None and name == "raw_error") and not (value >= 0):  # or NaN
                raise SettingsError(f"{name} is {value}, expected 0 or more")

    @property
    def passes(self) -> int:
        """How often an encoder reads the weights, at most: twice, once per U, and to encode."""
        return 3 + len(self.points)

    @property
    def expected_bpw(self) -> float:
        """Bits per weight of codes, at most."""
        indices = (max(self.points) + 1) * (self.classes + 1)
        return (indices - 1).bit_length() / 2


@dataclass(frozen=True, slots=True)
class LatticeSettings:
    """Group scales, good generators, optional companding: hyper.md 5.5, items 1, 2 and 4.

    `bits` are the most that packed indices may take per weight; group scales add 8 / group. `dim` 0
    stands for the largest that `bits` allow, `points` (if given) replace `bits`, `group` 0 stands
    for 128 rounded down to a multiple of dim. `companded` puts the points through the inverse
    normal distribution; `reach` is how many steps of 2**(1/16) to each side a group's scale is
    looked for, as long as it gets better.

    A share `critical` of the input columns of matrices, those with the highest `importance`, takes
    `critical_bits` instead, with as many points as these allow; `seed` is that of random ones.
    """

    bits: float = 4.0
    dim: int = 0
    points: int | None = None
    group: int = 0
    companded: bool = True
    generator: LatticeGenerator = "korobov"
    reach: int = 4
    critical: float = 0.0
    critical_bits: float = 8.0
    importance: ColumnImportance = "activation"
    seed: int = 0
    codec: ClassVar[str] = "winding"
    preset: ClassVar[str] = "lattice"

    def __post_init__(self) -> None:
        if not 0 <= self.dim <= 4:
            raise SettingsError(f"dim is {self.dim}, expected 1..4, or 0 to choose")
        if self.points is None and not MIN_BITS <= self.bits <= MAX_BITS:
            raise SettingsError(f"bits is {self.bits}, expected {MIN_BITS}..{MAX_BITS:g}")
        if self.points is None and self.dim and not 1 <= self.bits * self.dim <= MAX_BITS:
            raise SettingsError(
                f"bits * dim is {self.bits * self.dim:g}, expected 1..{MAX_BITS:g} per index"
            )
        if self.points is not None and not 2 <= self.points <= MAX_POINTS:
            raise SettingsError(f"points is {self.points}, expected 2..{MAX_POINTS}")
        if not 0 <= self.group <= MAX_GROUP or self.group % self.chosen_dim:
            raise SettingsError(
                f"group is {self.group}, expected a multiple of {self.chosen_dim} up to {MAX_GROUP}"
            )
        if not 0 <= self.reach <= 64:
            raise SettingsError(f"reach is {self.reach}, expected 0..64")
        if not 0 <= self.critical <= MOST_CRITICAL:
            raise SettingsError(f"critical is {self.critical}, expected 0..{MOST_CRITICAL}")
        if not MIN_BITS <= self.critical_bits <= MAX_BITS:
            raise SettingsError(
                f"critical_bits is {self.critical_bits}, expected {MIN_BITS}..{MAX_BITS:g}"
            )
        for name, choices in LATTICE_CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise SettingsError(f"{name} is {value}, expected {' or '.join(choices)}")
        if not 0 <= self.seed < 1 << 63:
            raise SettingsError(f"seed is {self.seed}, expected 0 or more")

    @property
    def chosen_dim(self) -> int:
        """Weights per index."""
        if self.dim:
            return self.dim
        if self.points is not None:
            return 2 if self.points <= 1 << 12 else 4
        return max(d for d in (1, 2, 3, 4) if d == 1 or self.bits * d <= MAX_BITS)

    @property
    def chosen_points(self) -> int:
        """Points of the winding."""
        if self.points is not None:
            return self.points
        return most_points(self.bits * self.chosen_dim)

    @property
    def chosen_group(self) -> int:
        """Weights that share a scale, at most."""
        return self.group or DEFAULT_GROUP // self.chosen_dim * self.chosen_dim

    @property
    def passes(self) -> int:
        """How often an encoder reads the weights: for the largest scale, and to encode.

        With critical columns to rank them, and then twice for each of the two matrices.
        """
        return 5 if self.critical else 2

    @property
    def critical_part(self) -> LatticeSettings:
        """Settings for the matrix of critical columns."""
        dim = LatticeSettings(bits=self.critical_bits).chosen_dim
        group = self.group // dim * dim
        return replace(self, bits=self.critical_bits, dim=0, points=None, group=group, critical=0.0)

    @property
    def expected_bpw(self) -> float:
        """Bits per weight of codes and scales."""
        bits = packed_bits(self.chosen_points)
        bpw = bits / self.chosen_dim + 8 / self.chosen_group
        if self.critical == 0:
            return bpw
        return (1 - self.critical) * bpw + self.critical * self.critical_part.expected_bpw


def packed_bits(radix: int) -> float:
    """Bits of an index below `radix`, in whole bits or several in 64, whichever takes less."""
    return min((radix - 1).bit_length(), 64 / radix_digits(radix))


def most_points(index_bits: float) -> int:
    """The most points whose packed indices take at most `index_bits` (1 to 24) bits each.

    That is a power of two with an index in whole bits, or what n indices in 64 bits hold.
    """
    whole = 1 << math.floor(index_bits + 1e-9)
    digits = math.ceil(64 / index_bits - 1e-9)
    points = math.floor(2 ** (64 / digits))
    while (points + 1) ** digits <= 1 << 64:
        points += 1
    while points**digits > 1 << 64:
        points -= 1
    return max(whole, points)


def paper_settings_for_bits(bits: float) -> PaperSettings:
    """The paper preset with as many points as indices of `bits` bits per weight hold in class 0.

    Points are a square number, as published (225 for 4 bits); outlier classes add up to a bit.
    """
    if not 2 <= bits <= 8:
        raise SettingsError(f"bits is {bits}, expected 2..8 with the paper preset")
    side = math.isqrt(2 ** math.floor(2 * bits) - 1)
    return PaperSettings(points=(min(side * side, PAPER_MAX_POINTS),))
