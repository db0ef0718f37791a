"""Judging compressed language models beside their original."""

from edgecomp.evaluation.generation import continue_text
from edgecomp.evaluation.language_model import (
    LanguageModel,
    build_model,
    load_compressed,
    load_original,
    read_tokens,
)
from edgecomp.evaluation.quality import Evaluation, EvaluationError, Quality, evaluate_models

__all__ = [
    "Evaluation",
    "EvaluationError",
    "LanguageModel",
    "Quality",
    "build_model",
    "continue_text",
    "evaluate_models",
    "load_compressed",
    "load_original",
    "read_tokens",
]
