"""How fast a model runs here: prefill and generation, and where the time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from edgecomp.generation.open_model import map_file, open_model
from edgecomp.generation.read_bandwidth import read_bandwidth
from runtime_ops.native_model import ModelInfo, ModelOptions, NativeModel

__all__ = ["Speed", "SpeedSettings", "measure_speed"]

SLICE = 128  # tokens of a prefill that are evaluated at a time, as in `edgecomp-run bench`


@dataclass(frozen=True)
class SpeedSettings:
    """What is measured."""

    prefill: int = 256  # tokens of the prompt
    generate: int = 64  # tokens behind it
    rounds: int = 3  # of both


@dataclass(frozen=True)
class Speed:
    """One number of threads; rates are medians over the rounds."""

    info: ModelInfo
    file_bytes: int
    prefill_rate: float  # tokens a second
    generate_rate: float
    read_bandwidth: float  # bytes a second that can be read here
    prefill_shares: dict[str, float]  # of the time, by kind of work
    generate_shares: dict[str, float]

    @property
    def weight_bandwidth(self) -> float:
        """Bytes of weights a second that generation reads."""
        return self.generate_rate * self.info.token_bytes

    @property
    def bandwidth_share(self) -> float:
        """Of what can be read here."""
        return self.weight_bandwidth / self.read_bandwidth


def measure_speed(
    path: Path,
    options: ModelOptions,
    settings: SpeedSettings,
    progress: Callable[[int], None] = lambda rounds: None,
) -> Speed:
    """The speed of a container's model. `progress` gets the number of rounds that are done.

    The context is what the measurement needs, whatever `options` say. OSError, ModelError.
    """
    data = map_file(path)
    n_context = settings.prefill + settings.generate
    options = ModelOptions(
        options.threads, n_context, options.batch, options.kv, options.isa, options.pin
    )
    prefill, generate = Stage(), Stage()
    with open_model(path, data, options) as model:
        info = model.info
        tokens = [some_token(i, info.n_vocab) for i in range(n_context)]
        model.eval(tokens[:1])  # brings all weights into memory
        for done in range(settings.rounds):
            progress(done)
            model.rewind(0)
            prefill.measure(model, slices(tokens[: settings.prefill]))
            generate.measure(model, [[token] for token in tokens[settings.prefill :]])
        progress(settings.rounds)
    bandwidth = read_bandwidth(info.token_bytes, info.n_threads)
    return Speed(
        info, len(data), prefill.rate, generate.rate, bandwidth, prefill.shares, generate.shares
    )


class Stage:
    """Rounds of prefill, or of generation."""

    def __init__(self) -> None:
        self._rates: list[float] = []
        self._nanoseconds: dict[str, int] = {}

    def measure(self, model: NativeModel, calls: Sequence[Sequence[int]]) -> None:
        """One round: tokens of each call."""
        model.reset_profile()
        start = time.perf_counter()
        for tokens in calls:
            model.eval(tokens)
        self._rates.append(sum(map(len, calls)) / (time.perf_counter() - start))
        for part, nanoseconds in model.profile().items():
            self._nanoseconds[part] = self._nanoseconds.get(part, 0) + nanoseconds

    @property
    def rate(self) -> float:
        """Tokens a second, the median."""
        return median(self._rates)

    @property
    def shares(self) -> dict[str, float]:
        """Of the time, by kind of work."""
        total = max(1, sum(self._nanoseconds.values()))
        return {part: each / total for part, each in self._nanoseconds.items()}


def slices(tokens: list[int]) -> list[list[int]]:
    """The tokens of one call each: between two calls Ctrl-C is heard."""
    return [tokens[i : i + SLICE] for i in range(0, len(tokens), SLICE)]


def some_token(i: int, n_vocab: int) -> int:
    """Tokens without a pattern, those that `edgecomp-run bench` takes."""
    return (i + 1) * 2654435761 % n_vocab
