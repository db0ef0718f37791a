"""Answers in OpenAI's shape."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field

from edgecomp.generation import Ending, Reason

__all__ = ["DONE", "Completion", "event", "model_object"]

DONE = b"data: [DONE]\n\n"
FINISH = {
    Reason.END: "stop",
    Reason.STOP: "stop",
    Reason.LENGTH: "length",
    Reason.CONTEXT: "length",
}


@dataclass(frozen=True)
class Completion:
    """One answer, whole or in chunks."""

    model: str
    id: str = field(default_factory=lambda: f"cmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))  # seconds since 1970

    def chunk(self, text: str, ending: Ending | None = None) -> dict[str, object]:
        """A piece of a stream; without an ending, more will follow."""
        finish = FINISH[ending.reason] if ending else None
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        return {**self._head(), "choices": [choice]}

    def whole(self, text: str, ending: Ending) -> dict[str, object]:
        """The whole answer."""
        return {**self.chunk(text, ending), "usage": usage(ending)}

    def counts(self, ending: Ending) -> dict[str, object]:
        """The last chunk of a stream that was asked to count."""
        return {**self._head(), "choices": [], "usage": usage(ending)}

    def _head(self) -> dict[str, object]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
        }


def usage(ending: Ending) -> dict[str, object]:
    """Token counts."""
    return {
        "prompt_tokens": ending.prompt_tokens,
        "completion_tokens": len(ending.tokens),
        "total_tokens": ending.prompt_tokens + len(ending.tokens),
        "prompt_tokens_details": {"cached_tokens": ending.kept_tokens},
    }


def event(value: object) -> bytes:
    """A server-sent event with a JSON value."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def model_object(name: str, created: int) -> dict[str, object]:
    """A row of the list of models."""
    return {"id": name, "object": "model", "created": created, "owned_by": "edgecomp"}
