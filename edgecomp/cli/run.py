"""`edgecomp run`: a prompt continued by a container's model."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from edgecomp.cli.model_options import Context, File, Json, KeysValues, Kv, Pin, Threads
from edgecomp.cli.model_options import model_options as chosen
from edgecomp.cli.options import UsageError
from edgecomp.cli.report import print_json
from edgecomp.generation import Ending, Limits, Reason
from edgecomp.generation.sampling import Sampling

__all__ = ["Interruption", "run"]

INTERRUPTED = 130


def run(
    file: File,
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="The prompt (default: read from stdin).")
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", "-n", min=1, help="Tokens to generate at most.")
    ] = 256,
    temperature: Annotated[
        float,
        typer.Option(
            min=0, max=100, help="0: always the likeliest token, the same text each time."
        ),
    ] = 0.0,
    top_k: Annotated[
        int,
        typer.Option(
            min=0, max=(1 << 32) - 1, help="Sample from so many of the likeliest tokens (0: all)."
        ),
    ] = 0,
    top_p: Annotated[
        float,
        typer.Option(min=0, max=1, help="From the likeliest ones that have this probability."),
    ] = 1.0,
    min_p: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="From those at least so many times as likely as the first."
        ),
    ] = 0.0,
    seed: Annotated[
        int, typer.Option(min=0, max=(1 << 64) - 1, help="The same seed, the same text.")
    ] = 0,
    threads: Threads = 0,
    context: Context = 0,
    kv: Kv = KeysValues.F16,
    pin: Pin = False,
    ignore_eos: Annotated[
        bool, typer.Option("--ignore-eos", help="Go on behind the end of the text.")
    ] = False,
    json: Json = False,
) -> None:
    """Continue a prompt with the language model of a container, on this machine.

    The text goes to stdout as it comes, what it took to stderr. Ctrl-C ends the text.

    \b
    Examples:
      edgecomp run bookworm.gguf -p "The old man looked at the sea, and"
      edgecomp run bookworm.gguf -p "Once" --temperature 0.8 --top-p 0.95 --seed 7
    """
    from edgecomp.generation.open_engine import open_engine

    sampling = Sampling(temperature, top_k, top_p, min_p, seed)
    text = read_prompt() if prompt is None else whole_characters(prompt)
    texts: list[str] = []
    with open_engine(file, chosen(threads, context, kv, pin)) as engine, interruption() as ctrl_c:
        limits = Limits(max_tokens, ignore_end=ignore_eos)
        tokens = engine.tokenizer.encode(text)
        if not tokens:
            raise UsageError("the prompt is empty", "this model starts from a text: give it one")
        for piece in engine.write(tokens, sampling, limits, ctrl_c.came):
            texts.append(piece.text)
            if not json:
                print(piece.text, end="", flush=True)
    ending = piece.ending
    assert ending is not None
    if json:
        print_json({"text": "".join(texts)} | ending_fields(ending))
    else:
        print(f"\n{figures(ending)}", file=sys.stderr)
    if ending.reason is Reason.STOPPED:
        sys.stdout.flush()
        sys.exit(INTERRUPTED)


def read_prompt() -> str:
    """What stdin holds, without the line break at its end."""
    if sys.stdin is None:
        raise UsageError("there is no prompt, and stdin is closed", '-p "..." gives one')
    if sys.stdin.isatty():
        print("prompt, up to the end of input (Ctrl-D):", file=sys.stderr)
    return sys.stdin.buffer.read().decode("utf-8", "replace").removesuffix("\n")


def whole_characters(argument: str) -> str:
    """An argument whose bytes that are no UTF-8 have become U+FFFD."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Interruption:
    """Ctrl-C, noted."""

    def __init__(self) -> None:
        self.came_yet = False

    def came(self) -> bool:
        """Whether it has come."""
        return self.came_yet

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handles the signal; once more, and Python's own handler takes over."""
        del number, frame
        self.came_yet = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Ctrl-C is noted within the block."""
    noted = Interruption()
    before = signal.signal(signal.SIGINT, noted.note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def ending_fields(ending: Ending) -> dict[str, object]:
    """What a text took, as JSON fields."""
    return {
        "tokens": list(ending.tokens),
        "finish": str(ending.reason),
        "prompt_tokens": ending.prompt_tokens,
        "prompt_seconds": ending.prompt_seconds,
        "prompt_tokens_per_second": ending.prompt_rate,
        "generate_seconds": ending.generate_seconds,
        "generate_tokens_per_second": ending.generate_rate,
    }


def figures(ending: Ending) -> str:
    """What a text took, in a line."""
    note = {
        Reason.CONTEXT: "; the context is full",
        Reason.STOPPED: "; interrupted",
    }.get(ending.reason, "")
    return (
        f"prompt: {ending.prompt_tokens} tokens, {ending.prompt_rate:.1f} a second; "
        f"text: {len(ending.tokens)} tokens, {ending.generate_rate:.1f} a second{note}"
    )
