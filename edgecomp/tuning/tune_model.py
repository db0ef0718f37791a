"""Tunes the whole model: KL divergence from the original on the calibration text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgecomp.tuning.coded_linear import CodedLinear, coded_linears
from edgecomp.tuning.tunable import Mover, T, TunableModel, TuneSettings
from edgecomp.tuning.tuner import Tuner, TuningError, batches

__all__ = ["BATCH_TOKENS", "Teaching", "output_fisher", "steps_of", "tune_model"]

BATCH_TOKENS = 2048
FISHER_TOKENS = 8192


def steps_of(tokens: Tensor, epochs: float) -> int:
    """Steps of so many rounds over windows of tokens (windows, length)."""
    batch = max(1, BATCH_TOKENS // tokens.shape[1])
    return max(1, round(epochs * len(tokens) / batch))


@dataclass(frozen=True)
class Teaching:
    """Two transformers causal language models on one device, and the text that they read.

    `student` has the weights that are stored outside of the coded linears; `names` has the tensor
    of each of its parameters. `tokens` int64 (windows, length).
    """

    original: nn.Module
    student: nn.Module
    names: Mapping[str, str]
    tokens: Tensor


def tune_model(
    teaching: Teaching,
    coded: TunableModel[T],
    settings: TuneSettings,
    generator: torch.Generator,
    mover: Callable[[Sequence[CodedLinear[T]], int], Mover],
    show: Callable[[int, int, float], None],
) -> None:
    """Changes `coded` so that the student gives what the original gives.

    Tuned vectors are kept in `coded`. `mover` makes what moves codes, where the settings say so.
    `show` gets the steps done, all steps, and the running loss in nats.
    """
    original, student = teaching.original, teaching.student
    names, tokens = teaching.names, teaching.tokens
    batch = max(1, BATCH_TOKENS // tokens.shape[1])
    n_steps = steps_of(tokens, settings.epochs)
    device = next(original.parameters()).device
    vectors = vector_parameters(student, names)
    for parameter in [*original.parameters(), *student.parameters()]:
        parameter.requires_grad_(False)
    with coded_linears(student, coded, names) as linears:
        mine = list(linears.values())
        moved = mover(mine, n_steps) if settings.move_codes else None
        tuner = Tuner(mine, list(vectors.values()), n_steps, mover=moved)
        running = 0.0
        for done, picks in enumerate(batches(len(tokens), batch, n_steps, generator)):
            part = tokens[picks].to(device)
            with torch.no_grad():
                wanted = log_probabilities(original, part)
            loss = nn.functional.kl_div(
                log_probabilities(student, part), wanted, log_target=True, reduction="sum"
            )
            value = tuner.step(loss / part.numel())
            running = value if done == 0 else 0.9 * running + 0.1 * value
            show(done + 1, n_steps, running)
    coded.vectors |= {name: p.detach().clone() for name, p in vectors.items()}


def vector_parameters(network: nn.Module, names: Mapping[str, str]) -> dict[str, nn.Parameter]:
    """Norms and biases of a network by tensor name."""
    found: dict[str, nn.Parameter] = {}
    for path, parameter in network.named_parameters():
        if parameter.dim() == 1 and path in names:
            found[names[path]] = parameter
    return found


def log_probabilities(network: Any, tokens: Tensor) -> Tensor:
    """Log-probabilities of every next token, float32 (n, length, vocab)."""
    logits: Tensor = network(input_ids=tokens, use_cache=False).logits
    return logits.float().log_softmax(-1)


def output_fisher(
    network: nn.Module, names: Mapping[str, str], tokens: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """The mean squared gradient of every linear's outputs, float32 (rows,), by tensor name.

    The gradient is that of the log-likelihood of tokens that are drawn from the model itself, one
    at every position of the text, so the mean is the diagonal of the Fisher information: half its
    product with the squared error of an output is, to second order, what the error adds to the KL
    divergence. TuningError for logits or gradients that are not finite.
    """
    sums: dict[str, Tensor] = {}
    hooks = []

    def watch(name: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def add(gradient: Tensor) -> None:
            squares = gradient.flatten(0, -2).square().sum(0)
            sums[name] = sums.get(name, torch.zeros_like(squares)) + squares

        return lambda module, inputs, output: watched(output, add)

    for path, module in network.named_modules():
        if isinstance(module, nn.Linear) and f"{path}.weight" in names:
            hooks.append(module.register_forward_hook(watch(names[f"{path}.weight"])))
    network.requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.Embedding):  # so that all outputs get gradients, and no weights
            module.requires_grad_(True)
    device = next(network.parameters()).device
    batch = max(1, BATCH_TOKENS // tokens.shape[1])
    used = tokens[: max(1, FISHER_TOKENS // tokens.shape[1])]
    for first in range(0, len(used), batch):
        found = log_probabilities(network, used[first : first + batch].to(device))
        if not found.isfinite().all():
            raise TuningError("the original's own logits are not finite on the calibration text")
        chances = found.detach().exp().flatten(0, -2).cpu()
        drawn = torch.multinomial(chances, 1, generator=generator).to(device)
        torch.autograd.backward(-found.flatten(0, -2).gather(1, drawn).sum())
        network.zero_grad(set_to_none=True)
    for hook in hooks:
        hook.remove()
    for name, total in sums.items():
        if not total.isfinite().all():
            raise TuningError(f"the gradients of the outputs of tensor {name} are not finite")
    return {name: total / used.numel() for name, total in sums.items()}


def watched(output: Tensor, hook: Callable[[Tensor], None]) -> Tensor:
    """The output again, for the network; the hook is called with the gradient by it.

    A copy, as networks may change it in place, and then the gradient by it would not be computed.
    """
    output.register_hook(hook)  # type: ignore[no-untyped-call]  # torch leaves it without types
    return output.clone()
