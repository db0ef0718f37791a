"""`edgecomp devices`: the profiles that ship with edgecomp, one of them, several side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from devices.catalogue import find_profile, packaged_profile, profile_ids
from devices.profile import Profile, ProfileError
from edgecomp.cli.device_report import (
    compared_object,
    listed_object,
    print_compared,
    print_listed,
)
from edgecomp.cli.device_text import print_profile, profile_object
from edgecomp.cli.errors import fail
from edgecomp.cli.model_options import Json
from edgecomp.cli.options import UsageError
from edgecomp.cli.report import print_json

__all__ = ["devices_app"]

MOST_COMPARED = 6  # that still stand side by side

devices_app = typer.Typer(
    rich_markup_mode=None, help="Show the devices that edgecomp knows: their profiles."
)

Device = Annotated[str, typer.Argument(help="Id or alias of a device, or a profile's FILE.toml.")]


@devices_app.callback(invoke_without_command=True)
def common(context: typer.Context) -> None:
    """Show the devices that edgecomp knows: their profiles."""
    if context.invoked_subcommand is None:
        raise UsageError("no command is given", "edgecomp devices --help lists the commands")


@devices_app.command("list")
def list_devices(json: Json = False) -> None:
    """List all packaged profiles, a line each.

    GB/s is what all cores together read from memory.

    \b
    Example:
      edgecomp devices list
    """
    read: dict[str, Profile] = {}
    damaged: list[str] = []
    for device in profile_ids():
        try:
            read[device] = packaged_profile(device)
        except (OSError, ProfileError) as error:
            damaged.append(str(error))
    if json:
        print_json([listed_object(device, profile) for device, profile in read.items()])
    else:
        print_listed(read)
    for message in damaged:
        fail(message, "install edgecomp again")
    if damaged:
        raise typer.Exit(1)


@devices_app.command("show")
def show_device(
    device: Device,
    kernels: Annotated[
        bool, typer.Option("--kernels", help="Show all kernels, not only the usual ones.")
    ] = False,
    json: Json = False,
) -> None:
    """Show a profile: every figure, whether it is estimated, and where it is from.

    \b
    Examples:
      edgecomp devices show pi5
      edgecomp devices show my-board.toml --json
    """
    profile = find_profile(device)
    if json:
        print_json(profile_object(profile))
    else:
        print_profile(profile, kernels)


@devices_app.command("compare")
def compare_devices(
    devices: Annotated[
        list[str], typer.Argument(help="Ids, aliases or files, the one to compare with first.")
    ],
    json: Json = False,
) -> None:
    """Show devices side by side, each figure also as a multiple of the first device's.

    \b
    Example:
      edgecomp devices compare pi4 pi5 orangepi5
    """
    if not 2 <= len(devices) <= MOST_COMPARED:
        raise UsageError(
            f"{len(devices)} devices are given, expected 2 to {MOST_COMPARED}",
            "edgecomp devices compare pi4 pi5",
        )
    profiles = {device: find_profile(device) for device in devices}
    if len(profiles) < len(devices):
        raise UsageError("a device is given twice", "give each device once")
    if json:
        print_json(compared_object(profiles))
    else:
        print_compared(profiles)
