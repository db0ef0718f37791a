"""What a model will do on devices: time, memory, and what binds."""

from __future__ import annotations

from dataclasses import dataclass

from devices.latency import Prediction, predict_generate, predict_network, predict_prefill
from devices.memory import PROGRAM_BYTES, peak_resident
from devices.profile import Profile
from devices.work import KvKind, LanguageModel, Network

__all__ = ["ModelLatency", "NetworkLatency", "Request", "model_latency", "network_latency"]


@dataclass(frozen=True)
class Request:
    """What is asked. `threads` 0: as many as are fastest."""

    threads: int = 0
    context: int = 512  # tokens before the one that is generated
    prompt: int = 256  # tokens of the prompt whose reading is predicted
    kv: KvKind = "f16"
    batch: int = 1  # inputs of a network


@dataclass(frozen=True)
class ModelLatency:
    """A language model on a device."""

    profile: Profile
    threads: int
    generate: Prediction  # of a token
    prefill: Prediction  # of the whole prompt
    resident_bytes: int

    @property
    def fits(self) -> bool:
        """Whether it fits into what one application can use."""
        return self.resident_bytes <= self.profile.usable_bytes


@dataclass(frozen=True)
class NetworkLatency:
    """A network on a device."""

    profile: Profile
    threads: int
    run: Prediction  # of a batch
    resident_bytes: int

    @property
    def fits(self) -> bool:
        """Whether it fits into what one application can use."""
        return self.resident_bytes <= self.profile.usable_bytes


def model_latency(model: LanguageModel, profile: Profile, request: Request) -> ModelLatency:
    """The prediction for a language model. ProfileError for threads or kernels it does not have."""
    found = [
        (threads, predict_generate(model, profile, threads, request.context, request.kv))
        for threads in choices(profile, request.threads)
    ]
    threads, generate = min(found, key=lambda each: each[1].ns)
    prefill = predict_prefill(model, profile, threads, request.prompt, request.kv)
    context = max(request.context + 1, request.prompt)
    resident = peak_resident(model, context, threads, request.kv).total
    return ModelLatency(profile, threads, generate, prefill, resident)


def network_latency(network: Network, profile: Profile, request: Request) -> NetworkLatency:
    """The prediction for a network. ProfileError for threads or kernels it does not have."""
    found = [
        (threads, predict_network(network, profile, threads, request.batch))
        for threads in choices(profile, request.threads)
    ]
    threads, run = min(found, key=lambda each: each[1].ns)
    resident = network.file_bytes + request.batch * network.activation_bytes + PROGRAM_BYTES
    return NetworkLatency(profile, threads, run, resident)


def choices(profile: Profile, threads: int) -> tuple[int, ...]:
    """The numbers of threads to look at: that one, or with 0 all that there are cores for."""
    return (threads,) if threads else tuple(range(1, profile.cores + 1))
