"""`edgecomp measure`: the profile of a device, by programs that run on it for a minute."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from edgecomp.cli.errors import note
from edgecomp.cli.model_options import Json
from edgecomp.cli.options import UsageError
from edgecomp.cli.report import print_json, print_table
from edgecomp.progress import show_progress

if TYPE_CHECKING:
    from devices.profile import Profile
    from edgecomp.measuring.lines import Measurements
    from edgecomp.measuring.run import Request

__all__ = ["measure"]

ENDING = (signal.SIGTERM, signal.SIGHUP)


def measure(
    on: Annotated[str, typer.Option(help="local, ssh:[user@]host[:port] or adb[:serial].")],
    out: Annotated[
        Path | None, typer.Option("--output", "-o", help="Profile to write, such as pi.toml.")
    ] = None,
    name: Annotated[
        str, typer.Option(help="What the profile calls the device (default: as it does itself).")
    ] = "",
    seconds: Annotated[
        float, typer.Option(min=1, max=600, help="Time that measuring there may take, about.")
    ] = 45.0,
    program: Annotated[
        Path | None, typer.Option(help="edgecomp-run for the device (default: built or kept).")
    ] = None,
    runner: Annotated[
        str, typer.Option(help="qemu-aarch64 or qemu-arm: try the program here, without times.")
    ] = "",
    json: Json = False,
) -> None:
    """Measure a device, here or over ssh or adb: a profile with measured figures.

    One program and 8 MB of matrices go there, into a private folder that is gone afterwards. The
    device should have nothing else to do.

    \b
    Examples:
      edgecomp measure --on ssh:pi@raspberrypi.local -o my-pi.toml
      edgecomp measure --on adb -o my-phone.toml
      edgecomp measure --on local -o this.toml --name "My computer"
    """
    from edgecomp.measuring.errors import AddressError
    from edgecomp.measuring.run import Request

    request = Request(on, seconds, program)
    try:
        with ended_by_signals():
            if runner:
                try_program(request, runner, out, json)
            else:
                measure_device(request, out, name, json)
    except AddressError as error:
        raise UsageError(str(error), error.hint) from error


def measure_device(request: Request, out: Path | None, name: str, json: bool) -> None:
    """Writes the profile, and prints it."""
    from edgecomp.measuring.run import measure as run

    if out is None:
        raise UsageError("there is no -o", "-o my-device.toml says where the profile goes")
    with show_progress() as progress:
        profile = run(request, out, " ".join(name.split()), progress, note)
    if json:
        print_json({"file": str(out), "profile": msgspec.to_builtins(profile)})
    else:
        print_profile(profile)


def try_program(request: Request, runner: str, out: Path | None, json: bool) -> None:
    """Prints what ran under an emulator."""
    from edgecomp.measuring.run import RUNNERS, try_runner

    if runner not in RUNNERS:
        raise UsageError(f"--runner is {runner}, expected one of {', '.join(RUNNERS)}",
                         "--runner qemu-aarch64 tries the program for 64-bit ARM")  # fmt: skip
    if out is not None:
        raise UsageError(f"-o {out} with --runner {runner}: an emulator's times mean nothing",
                         "leave -o out, or measure the device itself")  # fmt: skip
    with show_progress() as progress:
        found = try_runner(request, runner, progress, note)
    if json:
        print_json(tried_fields(found, runner))
    else:
        print_table(
            ("what ran", ""),
            ((key, str(value)) for key, value in tried_fields(found, runner).items()),
        )
    note(f"under {runner} times mean nothing: no profile is written")


def tried_fields(found: Measurements, runner: str) -> dict[str, object]:
    """What ran under an emulator: how much of what, and no times."""
    return {
        "runner": runner,
        "version": found.machine.version,
        "architecture": found.machine.architecture,
        "instruction_set": found.machine.instruction_set,
        "kernels": len({line.name for line in found.kernels}),
        "steps": len({line.name for line in found.steps}),
        "attention": len(found.attention),
    }


def print_profile(profile: Profile) -> None:
    """Cores, bandwidth and how steady the figures are."""
    print_table(
        ("cores", "", "GHz", "kernels", "spread"),
        (
            (
                f"{cluster.count} x",
                cluster.core,
                f"{cluster.clock_hz.value / 1e9:.2f}",
                str(len(cluster.costs.kernels)),
                f"{cluster.costs.spread:.0%}",
            )
            for cluster in profile.clusters
        ),
    )
    print()
    print_table(
        ("threads", "working set MB", "GB/s"),
        (
            (
                str(point.threads),
                f"{point.working_set_bytes / 1e6:.3g}",
                f"{point.bytes_per_second / 1e9:.2f}",
            )
            for point in profile.bandwidth.points
        ),
    )
    measured = profile.measured
    if measured is not None:
        print(f"\nmeasured in {measured.seconds:.0f} s; clocks within {measured.clock_drift:.0%}")


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP end it as Ctrl-C does: what was begun is undone."""

    def leave(number: int, frame: FrameType | None) -> None:
        del frame
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
