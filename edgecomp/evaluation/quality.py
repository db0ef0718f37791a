"""How much a compressed language model lost: perplexity, KL divergence and top-1 agreement.

The text is cut into non-overlapping windows that each start cold; every token of a window but its
first is predicted. All figures are means over the same predicted tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgecomp.evaluation.language_model import LanguageModel
from edgecomp.progress import ProgressCallback, Step

if TYPE_CHECKING:
    import torch

__all__ = ["Evaluation", "EvaluationError", "Quality", "cut_windows", "evaluate_models"]

WINDOW_TOKENS = 256
BATCH_LOGITS = 1 << 23  # logits held at once per model: 32 MiB in float32


class EvaluationError(ValueError):
    """A text and models that cannot be evaluated together; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Quality:
    """What one model scored. For the original, `kl` is 0 and `top1` is 1."""

    ppl: float  # exp of the mean negative log-likelihood
    kl: float  # mean KL(original || this), nats
    top1: float  # share of positions where the most likely token is the original's, 0..1
    tokens: int  # predicted tokens
    windows: int
    context: int  # tokens in a window

    def as_fields(self) -> dict[str, float | int]:
        """The scores by name, as JSON output and benchmarks give them."""
        return asdict(self)


@dataclass(frozen=True)
class Evaluation:
    """The scores of the original and of each candidate by name."""

    original: Quality
    candidates: Mapping[str, Quality]


@dataclass
class Sums:
    """Sums over predicted tokens, in float64."""

    nll: float = 0.0
    kl: float = 0.0
    agreed: int = 0


def evaluate_models(
    candidates: Mapping[str, LanguageModel],
    original: LanguageModel,
    tokens: NDArray[np.int64],
    windows: int | None = None,
    progress: ProgressCallback = lambda step: None,
) -> Evaluation:
    """The quality of every candidate beside the original on the first `windows` windows of a text.

    `tokens` is the whole text, int64 (n,); `windows` None means all of it. The original runs once,
    side by side with the candidates. Raises EvaluationError when the text is
    too short or its tokens are not the models'.
    """
    models = [original, *candidates.values()]
    cut = cut_windows(tokens, models, windows)
    n_windows, context = cut.shape
    batch = max(1, BATCH_LOGITS // (context * original.vocab_size))
    sums = [Sums() for _ in models]
    progress(Step("evaluate", "", 0, n_windows, unit="windows"))
    for first in range(0, n_windows, batch):
        part = cut[first : first + batch]
        add_batch(sums, models, part)
        progress(Step("evaluate", "", first + len(part), n_windows, unit="windows"))
    predicted = n_windows * (context - 1)
    scores = [
        Quality(
            ppl=perplexity(total.nll / predicted),
            kl=total.kl / predicted,
            top1=total.agreed / predicted,
            tokens=predicted,
            windows=n_windows,
            context=context,
        )
        for total in sums
    ]
    return Evaluation(scores[0], dict(zip(candidates, scores[1:], strict=True)))


def add_batch(sums: list[Sums], models: list[LanguageModel], tokens: NDArray[np.int64]) -> None:
    """Adds windows of tokens, int64 (windows, context), to each model's sums.

    models[0] is the original.
    """
    import torch

    with torch.inference_mode():
        targets = torch.from_numpy(tokens[:, 1:, None])
        reference = log_probabilities(models[0], tokens)
        probabilities = reference.exp()
        best = reference.argmax(-1)
        for total, model in zip(sums, models, strict=True):
            found = reference if model is models[0] else log_probabilities(model, tokens)
            total.nll -= float(found.gather(-1, targets).double().sum())
            total.agreed += int((found.argmax(-1) == best).sum())
            if found is not reference:
                divergence = (probabilities * (reference - found)).sum(-1)
                total.kl += float(divergence.double().sum())


def perplexity(mean_nll: float) -> float:
    """e to the mean negative log-likelihood; infinite where that has no float."""
    return math.exp(mean_nll) if not mean_nll > 709 else math.inf


def log_probabilities(model: LanguageModel, tokens: NDArray[np.int64]) -> torch.Tensor:
    """Log-probabilities of every next token, float32 (windows, context - 1, vocab)."""
    return model.logits(tokens)[:, :-1].log_softmax(-1)


def cut_windows(
    tokens: NDArray[np.int64], models: list[LanguageModel], windows: int | None
) -> NDArray[np.int64]:
    """The windows to evaluate, int64 (windows, context); a last, incomplete window is left out."""
    vocab_sizes = {model.vocab_size for model in models}
    if len(vocab_sizes) > 1:
        raise EvaluationError(
            f"the models' vocabularies differ: {sorted(vocab_sizes)} tokens",
            "compare a container with the model it was made from",
        )
    vocab_size = vocab_sizes.pop()
    if tokens.size and int(tokens.max()) >= vocab_size:
        raise EvaluationError(
            f"the text has token {int(tokens.max())}, the model knows {vocab_size} tokens",
            "use the tokenizer.json that belongs to the model",
        )
    limits = [model.context for model in models if model.context is not None]
    context = min([WINDOW_TOKENS, *limits])
    available = tokens.size // context
    if windows is not None and windows < 1:
        raise EvaluationError(f"windows is {windows}, expected 1 or more", "leave it out for all")
    if available < (windows or 1):
        raise EvaluationError(
            f"the text has {tokens.size} tokens, expected {(windows or 1) * context} "
            f"({windows or 1} windows of {context})",
            "use a longer text or fewer windows",
        )
    count = available if windows is None else windows
    return tokens[: count * context].reshape(count, context)
