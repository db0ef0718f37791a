"""The windows of a text that a calibration reads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgecomp.calibration.errors import CalibrationError

__all__ = ["cut_windows"]


def cut_windows(
    tokens: NDArray[np.int64], windows: int, context: int, vocab_size: int
) -> NDArray[np.int64]:
    """At most `windows` windows of a text's tokens int64 (n,), spread evenly: (windows, context).

    The text is cut into pieces of `context` tokens, of which every k-th is taken. Raises
    CalibrationError when it has no whole piece or a token that the model does not have.
    """
    pieces = tokens.size // context
    if pieces == 0:
        raise CalibrationError(
            f"the text has {tokens.size} tokens, one window needs {context}",
            "give a longer text, or a smaller --context",
        )
    if tokens.max() >= vocab_size:
        raise CalibrationError(
            f"the tokenizer gives token {tokens.max()}, the model has {vocab_size} embeddings",
            "put the tokenizer.json there that belongs to the model",
        )
    n = min(windows, pieces)
    taken = [i * pieces // n for i in range(n)]
    return np.ascontiguousarray(tokens[: pieces * context].reshape(pieces, context)[taken])
