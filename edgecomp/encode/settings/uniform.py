"""Settings of the uniform codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgecomp.encode.settings.error import SettingsError
from runtime_ops.formats.uniform import GROUP_STEP, MAX_GROUP, UNIFORM_BITS

SCALE_BITS = 16


@dataclass(frozen=True, slots=True)
class UniformSettings:
    """Integers of `bits` bits, to the nearest, `group` columns of a row with one scale.

    The baseline that other codecs are compared with, and at 8 bits what embeddings and heads take
    where speed counts: nothing is fitted to a text, and nothing but the scale to the weights.
    """

    bits: float = 4.0
    group: int = 32
    codec: ClassVar[str] = "uniform"
    preset: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        if self.bits not in UNIFORM_BITS:
            raise SettingsError(f"bits is {self.bits:g}, expected 2, 4 or 8 with the uniform codec")
        if not GROUP_STEP <= self.group <= MAX_GROUP or self.group % GROUP_STEP:
            raise SettingsError(
                f"group is {self.group}, expected a multiple of {GROUP_STEP} up to {MAX_GROUP}"
            )

    @property
    def passes(self) -> int:
        """How often an encoder reads the weights: for the largest one, and to encode."""
        return 2

    @property
    def expected_bpw(self) -> float:
        """Bits per weight of codes and scales."""
        return self.bits + SCALE_BITS / self.group
