"""`edgecomp serve`: a container's model behind OpenAI's completions interface."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecomp.cli.model_options import Context, File, KeysValues, Kv, Pin, Threads, model_options

__all__ = ["serve"]


def serve(
    file: File,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at (0: any that is free).")
    ] = 8080,
    threads: Threads = 0,
    context: Context = 0,
    kv: Kv = KeysValues.F16,
    pin: Pin = False,
    queue: Annotated[
        int, typer.Option(min=0, max=10000, help="Requests that may wait for the present one.")
    ] = 32,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens that a request may ask for at most.")
    ] = 1024,
    timeout: Annotated[
        float, typer.Option(min=0, help="Seconds that a request may take, waiting too (0: any).")
    ] = 600.0,
) -> None:
    """Serve the language model of a container: OpenAI's completions over HTTP.

    One text is written at a time, other requests wait in order. A line for each request goes to
    stderr. Ctrl-C or SIGTERM ends it; the present text has 10 seconds then.

    \b
    Examples:
      edgecomp serve bookworm.gguf --port 8080
      edgecomp serve bookworm.gguf --host 0.0.0.0 --threads 4 --context 2048
    """
    from edgecomp.generation.open_engine import open_engine
    from edgecomp.serving.server import listen
    from edgecomp.serving.server import serve as serve_engine
    from edgecomp.serving.settings import ServeSettings

    with (
        listen(host, port) as listener,
        open_engine(file, model_options(threads, context, kv, pin)) as engine,
    ):
        serve_engine(engine, listener, ServeSettings(queue, max_tokens, timeout))
