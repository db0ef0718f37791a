"""What decode_speed.py's race must show: ratios to peers, each the median of the rounds' ratios."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rows import Row

Stage = Literal["generate", "prefill"]
AT_BANDWIDTH = 0.9  # of the measured bandwidth: more cannot be asked for


@dataclass(frozen=True)
class Sample:
    """One system's rates in a round; `share` is what it read a second over what memory gives."""

    round: int
    model: str
    threads: int
    system: str
    format: str
    prefill: float  # tokens a second
    generate: float
    share: float


@dataclass(frozen=True)
class Aim:
    """A least ratio of edgecomp's format of `bits` to the faster one of some formats."""

    bits: int
    others: tuple[str, ...]  # llama.cpp's types, or the bits of ours
    stage: Stage
    least: float
    or_bandwidth: bool = False  # met as well where memory is the limit

    @property
    def others_text(self) -> str:
        """The other side, readable."""
        return " or ".join(self.others)


OURS = "edgecomp"
PEER = "llama.cpp"
AIMS = (
    Aim(4, ("Q4_0", "Q4_K"), "generate", 1.0),
    Aim(2, ("Q2_K",), "generate", 1.3),
    Aim(2, ("IQ2_XXS",), "generate", 3.0),
    Aim(1, ("IQ1_S",), "generate", 2.5),
    Aim(2, ("4 bits",), "generate", 1.5, or_bandwidth=True),
    *(Aim(bits, ("Q4_0",), "prefill", 0.5) for bits in (4, 3, 2, 1)),
)


def our_format(bits: float, state_bits: int) -> str:
    """The name of our format of a rate."""
    return f"{bits:g} bits, L {state_bits}"


def aim_rows(samples: Sequence[Sample], aims: Sequence[Aim] = AIMS) -> list[Row]:
    """A row for every aim, model, number of threads and state bits of which there are samples.

    `ratio` is the median over rounds, `met` says "met" or "missed".
    """
    rows: list[Row] = []
    for model, threads in dict.fromkeys((sample.model, sample.threads) for sample in samples):
        here = [s for s in samples if (s.model, s.threads) == (model, threads)]
        for aim in aims:
            names = dict.fromkeys(s.format for s in here if s.system == OURS)
            for name in names:
                bits, _, states = name.partition(", ")
                if bits == f"{aim.bits} bits":
                    rows += one_row(aim, here, name, states)
    return rows


def one_row(aim: Aim, here: Sequence[Sample], name: str, states: str) -> list[Row]:
    """The row of an aim for our format `name`; none where the other side was not measured."""
    ours = {s.round: s for s in here if (s.system, s.format) == (OURS, name)}
    peers = {(PEER, other) for other in aim.others}
    peers |= {(OURS, f"{other}, {states}") for other in aim.others}
    ratios = []
    for number, own in ours.items():
        rates = [rate(s, aim) for s in here if s.round == number and (s.system, s.format) in peers]
        if len(rates) == len(aim.others):
            ratios.append(rate(own, aim) / max(rates))
    if not ratios:
        return []
    ratio = statistics.median(ratios)
    share = statistics.median(sample.share for sample in ours.values())
    met = ratio >= aim.least or (aim.or_bandwidth and share >= AT_BANDWIDTH)
    first = next(iter(ours.values()))
    row: Row = {"model": first.model, "system": "ratio", "format": name, "threads": first.threads}
    row |= {"stage": aim.stage, "beside": aim.others_text, "ratio": ratio}
    return [row | {"lowest": min(ratios), "aim": aim.least, "met": "met" if met else "missed"}]


def rate(sample: Sample, aim: Aim) -> float:
    """Tokens a second of the aim's stage."""
    return sample.generate if aim.stage == "generate" else sample.prefill
