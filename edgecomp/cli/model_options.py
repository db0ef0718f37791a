"""Options of the commands that run a model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runtime_ops.native_model import ModelOptions

__all__ = ["Context", "File", "Json", "KeysValues", "Kv", "Pin", "Threads", "model_options"]

MAX_THREADS = 64
MAX_CONTEXT = 1 << 20


class KeysValues(StrEnum):
    """How keys and values are kept."""

    F16 = "f16"
    INT8 = "int8"


File = Annotated[Path, typer.Argument(help="Container of a language model.")]
Threads = Annotated[
    int,
    typer.Option(
        min=0, max=MAX_THREADS,
        help="Threads (0: one for each core); the text does not depend on it.",
    ),
]  # fmt: skip
Context = Annotated[
    int,
    typer.Option(
        min=0, max=MAX_CONTEXT,
        help="Tokens that are kept, the prompt's among them (0: the model's, at most 4096).",
    ),
]  # fmt: skip
Kv = Annotated[
    KeysValues, typer.Option(help="How keys and values are kept; int8 takes half the memory.")
]
Pin = Annotated[bool, typer.Option("--pin", help="Each thread stays on a core.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def model_options(threads: int, context: int, kv: KeysValues, pin: bool) -> ModelOptions:
    """The options as the C runtime takes them."""
    from runtime_ops.native_model import ModelOptions

    return ModelOptions(
        threads=threads, context=context, kv="int8" if kv is KeysValues.INT8 else "f16", pin=pin
    )
