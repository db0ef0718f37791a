"""The body of POST /v1/completions, checked."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from edgecomp.generation import Limits
from edgecomp.generation.sampling import Sampling
from edgecomp.serving.errors import not_found, wrong
from edgecomp.serving.fields import Fields, read_json, shown

__all__ = ["CompletionRequest", "parse_completion"]

DEFAULT_TOKENS = 16  # as OpenAI's
MAX_STOPS = 4
MAX_STOP_LETTERS = 256


@dataclass(frozen=True)
class CompletionRequest:
    """What a client wants."""

    prompt: str | tuple[int, ...]  # tokens are taken as they are
    limits: Limits
    sampling: Sampling
    stream: bool
    echo: bool  # the prompt comes first
    usage: bool  # a stream ends with a chunk of token counts


def parse_completion(body: bytes, model: str, max_tokens: int) -> CompletionRequest:
    """The request; ApiError when it is malformed, or asks for what there is not.

    Fields of OpenAI's that would change nothing are accepted with the values that do so.
    """
    fields = read_json(body)
    check_model(fields, model)
    prompt = prompt_of(fields.value("prompt"))
    limits = Limits(
        fields.integer("max_tokens", min(DEFAULT_TOKENS, max_tokens), 1, max_tokens),
        fields.texts("stop", MAX_STOPS),
        fields.boolean("ignore_eos"),
    )
    if any(len(stop) > MAX_STOP_LETTERS for stop in limits.stop):
        raise wrong(
            f"stop has a longer string, expected at most {MAX_STOP_LETTERS} letters", "stop"
        )
    request = CompletionRequest(
        prompt,
        limits,
        sampling_of(fields),
        fields.boolean("stream"),
        fields.boolean("echo"),
        usage_of(fields),
    )
    refuse_the_rest(fields)
    return request


def check_model(fields: Fields, model: str) -> None:
    """ApiError unless the model is the one that is served, or none is named."""
    asked = fields.text("model")
    if asked not in ("", model):
        raise not_found(
            f"model is {shown(asked)}, expected {shown(model)}", "model", "model_not_found"
        )


def prompt_of(value: object) -> str | tuple[int, ...]:
    """A string, or tokens; a list with one of them is as good."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list):
        value = value[0]
    if isinstance(value, str):
        return Fields({"prompt": value}).text("prompt")
    if isinstance(value, list) and value:
        tokens = [token for token in value if type(token) is int and 0 <= token < 1 << 32]
        if len(tokens) == len(value):
            return tuple(tokens)
    what = "missing" if value is None else shown(value)
    raise wrong(f"prompt is {what}, expected one string or one list of token ids", "prompt")


def sampling_of(fields: Fields) -> Sampling:
    """How tokens are chosen; without a seed no two texts are drawn alike."""
    return Sampling(
        fields.number("temperature", 1.0, 0.0, 100.0),
        fields.integer("top_k", 0, 0, (1 << 32) - 1),
        fields.number("top_p", 1.0, 0.0, 1.0),
        fields.number("min_p", 0.0, 0.0, 1.0),
        fields.integer("seed", secrets.randbits(63), -(1 << 63), (1 << 64) - 1) % (1 << 64),
    )


def usage_of(fields: Fields) -> bool:
    """Whether a stream shall end with token counts."""
    options = fields.inner("stream_options")
    usage = options.boolean("include_usage")
    options.only("include_obfuscation", False)
    options.finish(" in stream_options")
    return usage


def refuse_the_rest(fields: Fields) -> None:
    """ApiError for fields that are unknown, or would change the answer and are not supported."""
    fields.text("user")
    for name in ("n", "best_of"):
        fields.only(name, 1)
    for name in ("presence_penalty", "frequency_penalty"):
        fields.only(name, 0)
    fields.only("logit_bias", {})
    fields.only("suffix", "")
    fields.only("logprobs")
    fields.finish()
