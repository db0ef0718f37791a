"""`edgecomp latency`: how fast a model will be on a device, before anything is shipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgecomp.cli.crvq_options import CrvqOptions
from edgecomp.cli.model_options import MAX_CONTEXT, MAX_THREADS, Json, KeysValues, Kv
from edgecomp.cli.options import Bits, Codec, SettingsOptions, UsageError, settings_from
from edgecomp.cli.trellis_options import (
    EmbeddingCodecName,
    StateBits,
    TableEntries,
    TrellisOptions,
)

if TYPE_CHECKING:
    from devices.profile import Profile
    from edgecomp.encode import Settings
    from edgecomp.latency.report import Request
    from edgecomp.latency.stored import StoredModel

__all__ = ["latency"]

ALL = "all"
MAX_SIDE = 1 << 14  # of an image


def latency(
    model: Annotated[str, typer.Argument(help="Container, Hugging Face folder, or hub id.")],
    device: Annotated[
        str, typer.Option(help="Device (`edgecomp devices list`), a profile's file, or all.")
    ],
    context: Annotated[
        int, typer.Option(min=0, max=MAX_CONTEXT, help="Tokens before the one that is generated.")
    ] = 512,
    prompt: Annotated[
        int, typer.Option(min=1, max=MAX_CONTEXT, help="Tokens of the prompt that is read.")
    ] = 256,
    threads: Annotated[
        int, typer.Option(min=0, max=MAX_THREADS, help="Threads (0: as many as are fastest).")
    ] = 0,
    kv: Kv = KeysValues.F16,
    batch: Annotated[
        int, typer.Option(min=1, max=4096, help="Inputs at once, of encoders and image networks.")
    ] = 1,
    image: Annotated[
        str | None, typer.Option(help="Channels x height x width, such as 3x224x224.")
    ] = None,
    codec: Annotated[
        Codec | None, typer.Option(help="Of a model that is not compressed yet (default trellis).")
    ] = None,
    bits: Bits = None,
    state_bits: StateBits = None,
    table_entries: TableEntries = None,
    embedding_codec: EmbeddingCodecName = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show layer by layer.")] = False,
    json: Json = False,
) -> None:
    """Predict how fast MODEL will be on a device, with an interval, and the memory it takes.

    Of a model that is not compressed yet, --codec and --bits say what it would be compressed to.
    Encoders and image networks are counted by their multiplications.

    \b
    Examples:
      edgecomp latency bookworm.gguf --device pi5
      edgecomp latency HuggingFaceTB/SmolLM2-135M --bits 2 --device all
      edgecomp latency ./model --codec uniform --bits 4 --device pi5 --context 2048 --threads 4
    """
    from devices.catalogue import find_profile, profile_ids
    from edgecomp.cli.latency_tables import show_models, show_networks
    from edgecomp.latency.language_model import ARCHITECTURES, language_model
    from edgecomp.latency.network import network
    from edgecomp.latency.report import Request, model_latency, network_latency

    if verbose and device == ALL:
        raise UsageError("--verbose shows one device", "give its name instead of all")
    own = TrellisOptions(state_bits, table_entries, embedding_codec=embedding_codec)
    given = codec, bits, state_bits, table_entries, embedding_codec
    settings = None
    if any(each is not None for each in given):
        options = SettingsOptions(bits)
        settings = settings_from(codec, None, options, CrvqOptions(), own)
    profiles = [find_profile(each) for each in (profile_ids() if device == ALL else [device])]
    stored = stored_model(model, settings)
    request = Request(threads, context, prompt, "int8" if kv is KeysValues.INT8 else "f16", batch)
    if stored.keys.get("architecture") in ARCHITECTURES:
        work = language_model(stored)
        models = [model_latency(work, each, fitting(request, each, device)) for each in profiles]
        show_models(models, request, verbose, json)
    else:
        net = network(stored, max(1, context), parse_image(image))
        nets = [network_latency(net, each, fitting(request, each, device)) for each in profiles]
        show_networks(nets, request, verbose, json)


def fitting(request: Request, profile: Profile, device: str) -> Request:
    """The request with no more threads than a device has cores, where it is one of all."""
    return (
        replace(request, threads=min(request.threads, profile.cores)) if device == ALL else request
    )


def parse_image(text: str | None) -> tuple[int, int, int] | None:
    """Channels, height and width of a text such as 3x224x224; UsageError for others."""
    if text is None:
        return None
    hint = "--image 3x224x224"
    sides = text.split("x")
    if len(sides) != 3 or not all(side.isascii() and side.isdigit() for side in sides):
        raise UsageError(f"--image is {text}, expected channels x height x width", hint)
    channels, height, width = (int(side) for side in sides)
    if not all(1 <= side <= MAX_SIDE for side in (channels, height, width)):
        raise UsageError(f"--image is {text}, expected sides of 1 to {MAX_SIDE}", hint)
    return channels, height, width


def stored_model(model: str, settings: Settings | None) -> StoredModel:
    """The container's model, or what a checkpoint would be compressed to."""
    from edgecomp.checkpoint import open_checkpoint
    from edgecomp.encode import TrellisSettings
    from edgecomp.latency.stored import container_model, planned_checkpoint

    path = Path(model)
    if not path.is_dir() and (path.exists() or path.suffix == ".gguf"):
        if settings is not None:
            raise UsageError(
                f"{model} is compressed already, --codec and --bits are of models that are not",
                "leave them out, or give the model's folder",
            )
        return container_model(path)
    return planned_checkpoint(open_checkpoint(model), settings or TrellisSettings())
