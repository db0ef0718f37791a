"""The page docs/cli.md, made from the help of every command: `python -m edgecomp.cli.reference`."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator

import typer

from edgecomp.cli.app import app

__all__ = ["COMMANDS", "help_text", "reference_page"]

WIDTH = 100
HEAD = """# The command line

Made by `python -m edgecomp.cli.reference`; a test compares it with what the commands print. Data
goes to stdout, progress, notes and errors to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage,
130 interrupted.
"""


def command_names(group: typer.Typer) -> Iterator[str]:
    """The commands of a group in order, those of its own groups behind the group's name."""
    for info in group.registered_commands:
        yield str(info.name or getattr(info.callback, "__name__", ""))
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            yield from (f"{inner.name} {name}" for name in command_names(inner.typer_instance))


COMMANDS = tuple(command_names(app))


def reference_page() -> str:
    """The page as Markdown."""
    sections = [HEAD, f"```\n{help_text()}```\n"]
    sections += [f"## {command}\n\n```\n{help_text(*command.split())}```\n" for command in COMMANDS]
    return "\n".join(sections)


def help_text(*command: str) -> str:
    """What `edgecomp COMMAND --help` prints, WIDTH columns wide, without spaces at line ends."""
    before = {name: os.environ.get(name) for name in ("COLUMNS", "TERMINAL_WIDTH")}
    os.environ |= dict.fromkeys(before, str(WIDTH))
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            app(
                [*command, "--help"],
                prog_name="edgecomp",
                standalone_mode=False,
                max_content_width=WIDTH,
            )
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
    return "".join(f"{line.rstrip()}\n" for line in printed.getvalue().splitlines())


if __name__ == "__main__":
    print(reference_page(), end="")
