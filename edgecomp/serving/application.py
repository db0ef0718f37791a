"""The server's endpoints."""

from __future__ import annotations

import time

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgecomp.serving.completions import Completions
from edgecomp.serving.errors import ApiError, not_found
from edgecomp.serving.fields import shown
from edgecomp.serving.log import RequestLog
from edgecomp.serving.replies import model_object
from edgecomp.serving.settings import ServeSettings
from edgecomp.serving.writer import Writer

__all__ = ["application"]


def application(writer: Writer, settings: ServeSettings) -> Starlette:
    """The ASGI application around an engine."""
    row = model_object(writer.engine.name, int(time.time()))

    async def models(_request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [row]})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        if name != writer.engine.name:
            raise not_found(f"model {shown(name)} is not served", "model", "model_not_found")
        return JSONResponse(row)

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok", "requests": len(writer.turns)})

    async def chat(_request: Request) -> Response:
        raise not_found(
            "chat completions are not supported: containers hold no chat template; "
            "send the whole prompt to /v1/completions",
            code="unsupported_endpoint",
        )

    routes = [
        Route("/v1/completions", Completions(writer, settings), methods=["POST"]),
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/models", models),
        Route("/v1/models/{name}", model),
        Route("/health", health),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(RequestLog)],
        exception_handlers={ApiError: api_error, HTTPException: http_error},
    )


async def api_error(request: Request, error: Exception) -> Response:
    """An error of an endpoint."""
    assert isinstance(error, ApiError)
    request.scope["outcome"] = error.message
    return JSONResponse(error.fields(), error.status, dict(error.headers))


async def http_error(request: Request, error: Exception) -> Response:
    """Starlette's errors: no such path, or not with this method."""
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path[:100]}: {error.detail}"
    found = ApiError(error.status_code, what, "invalid_request_error")
    return JSONResponse(found.fields(), found.status, error.headers)
