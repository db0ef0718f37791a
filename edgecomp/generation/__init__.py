"""Text from a model that runs on this machine: prompts, limits, stop strings, kept tokens."""

from edgecomp.generation.generate import Ending, Limits, Piece, PromptError, Reason, generate
from edgecomp.generation.text_stream import TextStream
from edgecomp.generation.token_cache import TokenCache

__all__ = [
    "Ending",
    "Limits",
    "Piece",
    "PromptError",
    "Reason",
    "TextStream",
    "TokenCache",
    "generate",
]
