"""What `edgecomp latency` prints: tables, or JSON."""

from __future__ import annotations

from collections.abc import Sequence

from devices.latency import Prediction
from devices.profile import Profile
from edgecomp.cli.report import print_json, print_table
from edgecomp.latency.report import ModelLatency, NetworkLatency, Request

__all__ = ["show_models", "show_networks"]


def show_models(found: Sequence[ModelLatency], request: Request, verbose: bool, json: bool) -> None:
    """One device in full, or a table of several."""
    if json:
        objects = [model_fields(each, request, verbose) for each in found]
        print_json(objects if len(objects) > 1 else objects[0])
    elif len(found) == 1:
        show_model(found[0], request, verbose)
    else:
        print_table(
            ("device", "threads", "ms/token", "between", "tokens/s", "binds", "prefill tok/s",
             "memory MB", "fits"),
            [model_row(each, request) for each in found],
        )  # fmt: skip


def model_row(each: ModelLatency, request: Request) -> tuple[str, ...]:
    """A device's row among all."""
    return (
        each.profile.name,
        str(each.threads),
        milliseconds(each.generate.ns),
        between(each.generate),
        f"{1e9 / each.generate.ns:.1f}",
        each.generate.binds,
        f"{1e9 * request.prompt / each.prefill.ns:.0f}",
        f"{each.resident_bytes / 1e6:.0f}",
        "yes" if each.fits else "no",
    )


def show_model(each: ModelLatency, request: Request, verbose: bool) -> None:
    """A device in full."""
    print(heading(each.profile, each.threads))
    stages = (
        (f"token behind {request.context}", each.generate, 1),
        (f"prompt of {request.prompt}", each.prefill, request.prompt),
    )
    print_table(
        ("", "ms", "between", "tokens/s", "reading ms", "decoding ms", "binds"),
        [
            (
                name,
                milliseconds(stage.ns),
                between(stage),
                f"{1e9 * tokens / stage.ns:.1f}",
                milliseconds(stage.reading),
                milliseconds(stage.computing),
                stage.binds,
            )
            for name, stage, tokens in stages
        ],
    )
    print(memory(each.resident_bytes, each.profile, each.fits))
    if verbose:
        print()
        show_parts(each.generate)


def show_networks(
    found: Sequence[NetworkLatency], request: Request, verbose: bool, json: bool
) -> None:
    """One device in full, or a table of several."""
    if json:
        objects = [network_fields(each, request, verbose) for each in found]
        print_json(objects if len(objects) > 1 else objects[0])
        return
    if len(found) == 1:
        print(heading(found[0].profile, found[0].threads))
    print_table(
        ("device", "threads", "ms", "between", "inputs/s", "binds", "memory MB", "fits"),
        [
            (
                each.profile.name,
                str(each.threads),
                milliseconds(each.run.ns),
                between(each.run),
                f"{1e9 * request.batch / each.run.ns:.1f}",
                each.run.binds,
                f"{each.resident_bytes / 1e6:.0f}",
                "yes" if each.fits else "no",
            )
            for each in found
        ],
    )
    if verbose:
        print()
        show_parts(found[0].run)


def heading(profile: Profile, threads: int) -> str:
    """The device, and what its figures are."""
    count = "1 thread" if threads == 1 else f"{threads} threads"
    return f"{profile.name}, {count}, {figures_of(profile)} profile"


def figures_of(profile: Profile) -> str:
    """Whether kernels were measured on the device."""
    return "estimated" if profile.clusters[0].costs.estimated else "measured"


def memory(n_bytes: int, profile: Profile, fits: bool) -> str:
    """Resident memory beside what can be used."""
    usable = f"{profile.usable_bytes / 1e6:.0f} MB that can be used"
    verdict = "" if fits else ": does NOT fit"
    return f"memory {n_bytes / 1e6:.1f} MB of {usable}{verdict}"


def show_parts(prediction: Prediction) -> None:
    """Every part of the work."""
    print_table(
        ("place", "part", "ms", "reading ms", "decoding ms"),
        [
            (
                part.place,
                part.name,
                milliseconds(part.total),
                milliseconds(part.reading),
                milliseconds(part.computing),
            )
            for part in prediction.parts
        ],
    )


def milliseconds(ns: float) -> str:
    """ns as ms, three digits."""
    ms = ns / 1e6
    return f"{ms:.0f}" if ms >= 99.95 else f"{ms:.1f}" if ms >= 9.995 else f"{ms:.3g}"


def between(prediction: Prediction) -> str:
    """The interval in ms."""
    return f"{milliseconds(prediction.low)} .. {milliseconds(prediction.high)}"


def prediction_fields(prediction: Prediction, count: int, verbose: bool) -> dict[str, object]:
    """A prediction as JSON fields; `count` tokens or inputs are made in it."""
    fields: dict[str, object] = {
        "ms": prediction.ns / 1e6,
        "low_ms": prediction.low / 1e6,
        "high_ms": prediction.high / 1e6,
        "per_second": 1e9 * count / prediction.ns,
        "reading_ms": prediction.reading / 1e6,
        "decoding_ms": prediction.computing / 1e6,
        "binds": prediction.binds,
    }
    if verbose:
        fields["parts"] = [
            {
                "place": part.place,
                "part": part.name,
                "ms": part.total / 1e6,
                "reading_ms": part.reading / 1e6,
                "decoding_ms": part.computing / 1e6,
            }
            for part in prediction.parts
        ]
    return fields


def device_fields(
    profile: Profile, threads: int, resident_bytes: int, fits: bool
) -> dict[str, object]:
    """The device's fields of a row."""
    return {
        "device": profile.name,
        "figures": figures_of(profile),
        "threads": threads,
        "resident_bytes": resident_bytes,
        "usable_bytes": round(profile.usable_bytes),
        "fits": fits,
    }


def model_fields(each: ModelLatency, request: Request, verbose: bool) -> dict[str, object]:
    """A language model on a device as JSON fields."""
    return {
        **device_fields(each.profile, each.threads, each.resident_bytes, each.fits),
        "context": request.context,
        "generate": prediction_fields(each.generate, 1, verbose),
        "prompt": request.prompt,
        "prefill": prediction_fields(each.prefill, request.prompt, False),
    }


def network_fields(each: NetworkLatency, request: Request, verbose: bool) -> dict[str, object]:
    """A network on a device as JSON fields."""
    return {
        **device_fields(each.profile, each.threads, each.resident_bytes, each.fits),
        "batch": request.batch,
        "run": prediction_fields(each.run, request.batch, verbose),
    }
