"""Speeds that others have published beside what our cost model predicts for the same device.

The published systems have kernels of their own; a prediction is of edgecomp's kernels on weights of
about as many bits: uniform integers for 4 and 8, trellises for 2, float16 as it is, and 8 bits for
embedding and head. Where memory binds, the two should agree. `--markdown` prints the table of
docs/devices.md, which a test compares.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Literal

from random_llama import EMBEDDING, HEAD, Shape
from rows import Row, print_rows

from devices.catalogue import find_profile
from devices.latency import Prediction, predict_generate
from edgecomp.encode import Settings, TrellisSettings, UniformSettings
from edgecomp.latency.language_model import language_model
from edgecomp.latency.stored import StoredModel, StoredTensor, planned_model
from runtime_ops.formats import RawFormat, UniformFormat

Weights = Literal["16 bits", "8 bits", "4 bits", "2 bits"]
SETTINGS: dict[Weights, Settings] = {
    "8 bits": UniformSettings(8),
    "4 bits": UniformSettings(4),
    "2 bits": TrellisSettings(2, 8, table_entries=64, embedding_codec="uniform"),
}
OUTER = UniformFormat(8, 32)  # of embedding and head, which published files keep at 6 to 8 bits
PAST = 128  # tokens before the one that is generated: published runs are short
SHAPES = {
    "TinyLlama 1.1B": Shape(),
    "Llama 3.2 1B": Shape(16, 2048, 8192, 32, 8, 128256, tied=True),
    "Llama 3.2 3B": Shape(28, 3072, 8192, 24, 8, 128256, tied=True),
    "Llama 3 8B": Shape(32, 4096, 14336, 32, 8, 128256),
    "Llama 2 7B": Shape(32, 4096, 11008, 32, 32, 32000),
    "Llama 2 13B": Shape(40, 5120, 13824, 40, 40, 32000),
}


@dataclass(frozen=True)
class Published:
    """A speed that somebody published, in generated tokens a second."""

    device: str
    threads: int
    model: str
    weights: Weights
    system: str
    tokens_per_second: float


PUBLISHED = (
    Published("pi-5", 4, "Llama 3.2 3B", "4 bits", "ollama, Q4_K_M", 4.88),
    Published("pi-5", 4, "Llama 3 8B", "4 bits", "ollama, Q4_K_M", 2.17),
    Published("pi-5", 4, "Llama 2 13B", "4 bits", "ollama, Q4_0", 1.36),
    Published("pi-5", 4, "TinyLlama 1.1B", "8 bits", "llamafile, Q8_0", 9.0),
    Published("pi-5", 4, "TinyLlama 1.1B", "16 bits", "llamafile, F16", 5.0),
    Published("pi-5", 1, "Llama 2 7B", "4 bits", "T-MAC", 2.42),
    Published("pi-5", 2, "Llama 2 7B", "4 bits", "T-MAC", 3.35),
    Published("pi-5", 2, "Llama 2 7B", "2 bits", "T-MAC", 5.92),
    Published("pi-4b", 4, "TinyLlama 1.1B", "8 bits", "llamafile, Q8_0", 3.0),
    Published("oneplus-12", 6, "Llama 3.2 1B", "4 bits", "ExecuTorch, SpinQuant", 50.2),
    Published("oneplus-12", 6, "Llama 3.2 3B", "4 bits", "ExecuTorch, SpinQuant", 19.7),
    Published("oneplus-12", 6, "Llama 3.2 1B", "16 bits", "ExecuTorch, BF16", 19.2),
    Published("oneplus-12", 6, "Llama 3.2 3B", "16 bits", "ExecuTorch, BF16", 7.6),
    Published("oneplus-12", 6, "Llama 3 8B", "4 bits", "ExecuTorch, groups of 128", 10.85),
    Published("galaxy-s24", 6, "Llama 3 8B", "4 bits", "ExecuTorch, groups of 128", 10.91),
    Published("surface-laptop-7", 4, "Llama 2 7B", "4 bits", "T-MAC", 18.7),
    Published("surface-laptop-7", 4, "Llama 2 7B", "2 bits", "T-MAC", 28.4),
)


def stored(model: str, weights: Weights) -> StoredModel:
    """The model with weights of so many bits, embedding and head of 8 unless there are more."""
    shape = SHAPES[model]
    settings = SETTINGS.get(weights, UniformSettings(8))
    planned = planned_model(model, shape.tensors(), shape.config(), settings)
    tensors = dict(planned.tensors)
    for name, each in planned.tensors.items():
        if weights == "16 bits":
            tensors[name] = StoredTensor(name, RawFormat("f16"), each.shape)
        elif name in (EMBEDDING, HEAD):
            tensors[name] = StoredTensor(name, OUTER, each.shape)
    n_bytes = sum(each.n_bytes for each in tensors.values())
    return StoredModel(model, tensors, planned.keys, n_bytes)


def predicted(entry: Published) -> Prediction:
    """What the cost model says of edgecomp's kernels there."""
    work = language_model(stored(entry.model, entry.weights))
    return predict_generate(work, find_profile(entry.device), entry.threads, PAST)


def row(entry: Published) -> Row:
    """A published speed beside the prediction; the ratio is published to predicted."""
    prediction = predicted(entry)
    return {
        "device": entry.device,
        "threads": entry.threads,
        "model": entry.model,
        "weights": entry.weights,
        "system": entry.system,
        "published_tokens_per_second": entry.tokens_per_second,
        "predicted_tokens_per_second": 1e9 / prediction.ns,
        "low": 1e9 / prediction.high,
        "high": 1e9 / prediction.low,
        "binds": prediction.binds,
        "ratio": entry.tokens_per_second * prediction.ns / 1e9,
    }


def markdown() -> str:
    """The table of docs/devices.md."""
    lines = [
        "| device, threads | model | published, tokens/s | predicted (between) | binds | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for entry in PUBLISHED:
        found = predicted(entry)
        rates = [1e9 / ns for ns in (found.ns, found.high, found.low)]
        lines.append(
            f"| {find_profile(entry.device).name}, {entry.threads} | {entry.model}, "
            f"{entry.weights} | {entry.tokens_per_second:g} ({entry.system}) | {rates[0]:.3g} "
            f"({rates[1]:.3g} .. {rates[2]:.3g}) | {found.binds} | "
            f"{entry.tokens_per_second / rates[0]:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="the same: nothing is measured")
    parser.add_argument("--markdown", action="store_true", help="the table of docs/devices.md")
    arguments = parser.parse_args()
    if arguments.markdown:
        print(markdown(), end="")
    else:
        print_rows([row(entry) for entry in PUBLISHED], arguments.json)


if __name__ == "__main__":
    main()
