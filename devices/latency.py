"""How long a language model or a network takes on a device, before anything is shipped.

The steps are those of the runner (runtime_ops/csrc/runner/model_eval.c), in its order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from devices.cost import BATCH, Machine, Skew
from devices.profile import Profile
from devices.work import KvKind, LanguageModel, Layer, Loop, Network, Product

__all__ = ["Part", "Prediction", "predict_generate", "predict_network", "predict_prefill"]

QUERIES = 16  # that read a tile of keys together
MODEL_SPREAD = 0.15  # of what the model leaves out; benchmarks/latency_prediction.py shows it
Timed = Callable[[Machine], "list[Part]"]
Row = tuple[str, float, float, float]  # name, reading, computing and all of a part


@dataclass(frozen=True)
class Step:
    """Tokens that are evaluated together, behind `past` others; `ends`: with logits."""

    tokens: int
    past: int
    kv: KvKind
    ends: bool = True


@dataclass(frozen=True)
class Part:
    """A part of the work, in ns. `reading` and `computing` are what either takes alone."""

    place: str  # such as "layer 3", "head"
    name: str
    reading: float
    computing: float
    total: float


@dataclass(frozen=True)
class Prediction:
    """How long something takes, in ns: nine times of ten between `low` and `high`."""

    ns: float
    low: float
    high: float
    parts: tuple[Part, ...]

    @property
    def reading(self) -> float:
        """ns that reading alone takes."""
        return sum(part.reading for part in self.parts)

    @property
    def computing(self) -> float:
        """ns that computing alone takes."""
        return sum(part.computing for part in self.parts)

    @property
    def binds(self) -> str:
        """What the time goes by: "bandwidth" or "decode"; "both" where they are within 10 %."""
        if abs(math.log(max(self.reading, 1e-9) / max(self.computing, 1e-9))) < 0.1:
            return "both"
        return "bandwidth" if self.reading > self.computing else "decode"


def predict_generate(
    model: LanguageModel, profile: Profile, threads: int, past: int, kv: KvKind = "f16"
) -> Prediction:
    """One token behind `past` others. ProfileError for threads or kernels it does not have."""
    return with_interval(
        Machine(profile, threads),
        lambda machine: list(step_parts(model, machine, Step(1, past, kv))),
    )


def predict_prefill(
    model: LanguageModel, profile: Profile, threads: int, tokens: int, kv: KvKind = "f16"
) -> Prediction:
    """All of a prompt's tokens, with the logits of the last one; the cache is empty before."""

    steps = [
        Step(min(BATCH, tokens - past), past, kv, past + BATCH >= tokens)
        for past in range(0, tokens, BATCH)
    ]

    def parts(machine: Machine) -> list[Part]:
        return [part for step in steps for part in step_parts(model, machine, step)]

    return with_interval(Machine(profile, threads), parts)


def predict_network(network: Network, profile: Profile, threads: int, batch: int) -> Prediction:
    """One batch of inputs of an encoder or a convolutional net.

    An operation's weights are decoded once for the batch; each multiplication costs what one of a
    product with many tokens does.
    """
    return with_interval(
        Machine(profile, threads), lambda machine: list(network_parts(network, machine, batch))
    )


def with_interval(machine: Machine, parts: Timed) -> Prediction:
    """The parts on a machine, and the interval: each spread on its own, then their squares."""
    profile, found = machine.profile, parts(machine)
    total = sum(part.total for part in found)
    spreads = (
        (max(cluster.costs.spread for cluster, _ in machine.cores), "costs"),
        (profile.bandwidth.spread, "bandwidth"),
        (profile.threading.spread, "threading"),
    )
    high, low = MODEL_SPREAD**2, MODEL_SPREAD**2
    for spread, name in spreads:
        worse, better = (
            sum(part.total for part in parts(machine.skewed(Skew(**{name: factor}))))
            for factor in (1 / (1 - spread), 1 - spread)
        )
        high += math.log(worse / total) ** 2
        low += math.log(total / better) ** 2
    return Prediction(
        total, total * math.exp(-math.sqrt(low)), total * math.exp(math.sqrt(high)), tuple(found)
    )


def step_parts(model: LanguageModel, machine: Machine, step: Step) -> Iterator[Part]:
    """One evaluation of up to a batch of tokens."""
    working_set = model.token_bytes + model.kv_bytes(step.past, step.kv)
    for i, layer in enumerate(model.layers):
        for part in layer_parts(model, layer, machine, step, working_set):
            yield Part(f"layer {i}", *part)
    if step.ends:
        for part in loop_parts(model.head, machine, 1, working_set):
            yield Part("head", *part)
        norm = model.d_model * machine.step("norm")
        yield Part("head", "norms, positions, cache", 0.0, norm, norm)


def layer_parts(
    model: LanguageModel, layer: Layer, machine: Machine, step: Step, working_set: float
) -> Iterator[Row]:
    """The parts of a layer."""
    tokens = step.tokens
    for loop in layer.loops:
        yield from loop_parts(loop, machine, tokens, working_set)
    yield attention_part(model, machine, step, working_set)
    heads = model.attention
    stored = 2 * heads.n_kv_heads * heads.d_head
    rotated = (heads.n_heads + heads.n_kv_heads) * heads.d_head
    numbers = {
        "norm": 2 * model.d_model + layer.head_norms,
        "rope": rotated,
        f"store_{step.kv}": stored,
    }
    own = sum(n * machine.shared_step(name, tokens) for name, n in numbers.items()) * tokens
    shared = model.d_ff * tokens * machine.shared_step("swiglu")
    loops = 4 if tokens > 1 else 1  # one token's norms and heads are no loop
    yield (
        "norms, positions, cache",
        0.0,
        own + shared,
        own + shared + loops * machine.dispatch,
    )


def loop_parts(loop: Loop, machine: Machine, tokens: int, working_set: float) -> Iterator[Row]:
    """A loop's products, and its inputs: one core makes int8 of them, all of them rotate."""
    times = machine.loop(loop.products, tokens, working_set)
    yield loop.part, times.reading, times.computing, times.total
    inputs = loop.quantised * tokens * machine.step("quantise")
    inputs += loop.rotated * tokens * machine.shared_step("rotate", tokens)
    if inputs > 0:
        yield "inputs", 0.0, inputs, inputs


def attention_part(model: LanguageModel, machine: Machine, step: Step, working_set: float) -> Row:
    """Scores, softmax and values of a layer: heads of keys are shared out among threads.

    Queries of a head of keys share its tiles, up to 16; token t sees past + t + 1 positions.
    """
    tokens, kv = step.tokens, step.kv
    heads = model.attention
    together = max(1, int(QUERIES // heads.group)) if heads.group < QUERIES else 1
    units = -(-tokens // together) * heads.n_kv_heads
    threads = min(units, machine.threads)
    rounds = -(-units // threads) * threads / units  # the last round may leave threads without work
    positions = step.past + (tokens + 1) / 2
    loads = 2 * heads.d_head * positions * units * machine.shared_step(f"load_{kv}", threads)
    query = 2 * heads.d_head * machine.shared_step("attend", threads)
    query += machine.shared_step("softmax", threads)
    computing = rounds * (loads + query * positions * heads.n_heads * tokens)
    n_bytes = heads.position_bytes(kv) * positions * units / heads.n_kv_heads
    reading = 1e9 * n_bytes / machine.bandwidth(max(working_set, 1), threads)
    return ("attention", *astuple(machine, reading, computing))


def astuple(machine: Machine, reading: float, computing: float) -> tuple[float, float, float]:
    """Reading, computing, and both in one loop."""
    times = machine.both(reading, computing)
    return times.reading, times.computing, times.total


def network_parts(network: Network, machine: Machine, batch: int) -> Iterator[Part]:
    """The operations of a network, one loop each."""
    working_set = sum(each.n_bytes for each in network.operations)
    for each in network.operations:
        if each.kernel:
            product = Product(each.name, each.kernel, each.weights, each.n_bytes)
            # Multiplications of a weight: tokens of an encoder, places of a convolution.
            tokens = max(1, round(each.multiplies * batch / each.weights))
            times = machine.loop([product], tokens, working_set)
        else:
            times = machine.both(0.0, each.multiplies * batch * machine.shared_step("attend"))
        yield Part(each.name, "product", times.reading, times.computing, times.total)
