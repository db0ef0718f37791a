"""POST /v1/completions."""

from __future__ import annotations

import asyncio
import sys
import traceback
from contextlib import aclosing, suppress

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from edgecomp.generation import Ending, Piece, PromptError, Reason
from edgecomp.generation.engine import Engine
from edgecomp.serving.completion_request import CompletionRequest, parse_completion
from edgecomp.serving.connection import check_content_type, read_body, while_connected
from edgecomp.serving.errors import ApiError, wrong
from edgecomp.serving.replies import DONE, Completion, event
from edgecomp.serving.settings import ServeSettings
from edgecomp.serving.turns import shutting_down
from edgecomp.serving.writer import Writer

__all__ = ["Completions"]

FAIL_SECONDS = 5.0  # in which a client must take an error


class Completions:
    """The endpoint, an ASGI application. What became of a request is left in `scope["outcome"]`."""

    def __init__(self, writer: Writer, settings: ServeSettings) -> None:
        self.writer = writer
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, with an error if need be."""
        reply = Reply(send, scope, self.writer.engine.name)
        try:
            async with asyncio.timeout(self.settings.timeout or None):
                await self.answer(Request(scope, receive), receive, reply)
        except ClientDisconnect:
            scope["outcome"] = "client left"
        except TimeoutError:
            seconds = self.settings.timeout
            await reply.fail(
                ApiError(504, f"no answer within {seconds:g} s", "server_error", code="timeout")
            )
        except ApiError as error:
            await reply.fail(error)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            await reply.fail(ApiError(500, f"the model failed: {error}", "server_error"))

    async def answer(self, request: Request, receive: Receive, reply: Reply) -> None:
        """Reads a request and writes its text."""
        check_content_type(request)
        body = await read_body(request)
        asked = parse_completion(body, self.writer.engine.name, self.settings.max_tokens)
        prompt = await asyncio.to_thread(prompt_tokens, self.writer.engine, asked.prompt)
        await while_connected(receive, self.write(asked, prompt, reply))

    async def write(self, asked: CompletionRequest, prompt: list[int], reply: Reply) -> None:
        """Writes a text, piece by piece or as a whole."""
        head = Piece(prompt_text(self.writer.engine, asked.prompt) if asked.echo else "")
        texts: list[str] = [head.text]
        async with aclosing(self.writer.pieces(asked, prompt)) as pieces:
            async for piece in pieces:
                if piece.ending and piece.ending.reason is Reason.STOPPED:
                    raise shutting_down()
                if asked.stream:
                    await reply.stream(Piece(head.text + piece.text, piece.ending), asked.usage)
                    head = Piece("")
                texts.append(piece.text)
                if piece.ending and not asked.stream:
                    await reply.whole("".join(texts), piece.ending)


class Reply:
    """An answer that is sent, whole or as a stream of events."""

    def __init__(self, send: Send, scope: Scope, model: str) -> None:
        self._send, self._scope = send, scope
        self._completion = Completion(model)
        self._streams = False

    async def whole(self, text: str, ending: Ending) -> None:
        """Sends the whole answer."""
        self._scope["outcome"] = outcome(ending)
        await self._json(200, self._completion.whole(text, ending), {})

    async def stream(self, piece: Piece, usage: bool) -> None:
        """Sends a piece; with the ending, what closes the stream too."""
        data = b""
        if piece.text or piece.ending:
            data = event(self._completion.chunk(piece.text, piece.ending))
        if piece.ending:
            self._scope["outcome"] = outcome(piece.ending)
            if usage:
                data += event(self._completion.counts(piece.ending))
            data += DONE
        await self._events(data, last=piece.ending is not None)

    async def fail(self, error: ApiError) -> None:
        """Sends an error: as the answer, or as the last event of a stream that has begun."""
        self._scope["outcome"] = f"error {error.message}" if self._streams else error.message
        with suppress(TimeoutError):  # who does not read gets no error either
            async with asyncio.timeout(FAIL_SECONDS):
                if self._streams:
                    await self._events(event(error.fields()), last=True)
                else:
                    await self._json(error.status, error.fields(), dict(error.headers))

    async def _events(self, data: bytes, last: bool) -> None:
        if not self._streams:
            self._streams = True
            headers = [
                (b"content-type", b"text/event-stream; charset=utf-8"),
                (b"cache-control", b"no-store"),
                (b"x-accel-buffering", b"no"),
            ]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    async def _json(self, status: int, value: object, headers: dict[str, str]) -> None:
        response = JSONResponse(value, status, headers)
        await response(self._scope, nothing, self._send)


async def nothing() -> dict[str, object]:
    """A client that says nothing more; a JSON response does not listen."""
    raise ClientDisconnect


def prompt_tokens(engine: Engine, prompt: str | tuple[int, ...]) -> list[int]:
    """The tokens of a prompt; ApiError when the model cannot read it."""
    tokens = engine.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
    for token in tokens:
        if token >= engine.n_vocab:
            raise wrong(f"prompt has token {token}, expected 0..{engine.n_vocab - 1}", "prompt")
    try:
        engine.check(tokens)
    except PromptError as error:
        code = "context_length_exceeded" if tokens else ""
        raise wrong(str(error), "prompt", code) from error
    return tokens


def prompt_text(engine: Engine, prompt: str | tuple[int, ...]) -> str:
    """A prompt as `echo` shows it."""
    if isinstance(prompt, str):
        return prompt
    return b"".join(map(engine.tokenizer.piece, prompt)).decode("utf-8", "replace")


def outcome(ending: Ending) -> str:
    """An ending in a line of the log."""
    return (
        f"{ending.reason}, prompt {ending.prompt_tokens} tokens ({ending.kept_tokens} kept) "
        f"{ending.prompt_seconds:.2f} s, text {len(ending.tokens)} tokens "
        f"{ending.generate_seconds:.2f} s"
    )
