"""docs/cli.md and the commands in README.md are what the program takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from edgecomp.cli.app import app
from edgecomp.cli.reference import COMMANDS, help_text, reference_page

ROOT = Path(__file__).parents[3]
FENCE = re.compile(r"^ *```[^\n]*\n(.*?)^ *```[ \t]*$", flags=re.M | re.S)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def parses(words: list[str], whole: bool = True) -> None:
    """Raises what the program would for a command line with wrong commands or options.

    Of one that is not `whole`, only the command is looked at if there is nothing behind it.
    """
    command, name, rest = typer.main.get_command(app), "edgecomp", words
    while isinstance(command, typer.core.TyperGroup) and rest:
        context = command.make_context(name, rest[:1])
        found, inner, rest = command.resolve_command(context, rest)
        assert inner is not None
        command, name = inner, str(found)
    if whole or rest:
        command.make_context(name, rest)


def command_lines(text: str) -> list[str]:
    """The lines of a page's text that start with `edgecomp`, in code blocks, fenced or indented."""
    fenced = "\n".join(FENCE.findall(text))
    indented = "\n".join(re.findall(r"^(?: {4}|\t).*$", FENCE.sub("", text), flags=re.M))
    joined = re.sub(r"\\\n", " ", f"{fenced}\n{indented}")
    return re.findall(r"^[ \t]*(?:\$ )?(edgecomp .*)$", joined, flags=re.M)


def mentions(text: str) -> list[str]:
    """What starts with `edgecomp` in code within a sentence of a page's text, lines joined."""
    spans = re.findall(r"`(edgecomp\s[^`]+)`", FENCE.sub("", text))
    return [" ".join(span.split()) for span in spans]


def check_page(text: str) -> int:
    """How many commands a page has; raises what the program would for one of them.

    Within a sentence, a command may be named without its arguments.
    """
    lines, spans = command_lines(text), mentions(text)
    for line in lines:
        parses(shlex.split(line, comments=True)[1:])
    for span in spans:
        parses(shlex.split(span)[1:], whole=False)
    return len(lines) + len(spans)


def test_page_is_the_help() -> None:
    """But for the places where lines are broken, which depend on typer's version."""
    page = (ROOT / "docs" / "cli.md").read_text()
    hint = "python -m edgecomp.cli.reference > docs/cli.md"
    assert page.split() == reference_page().split(), hint
    assert "\x08" not in page


def test_page_has_every_command_and_option() -> None:
    assert COMMANDS == (
        "calibrate", "compress", "inspect", "eval", "demo", "run", "serve", "bench",
        "latency", "measure", "devices list", "devices show", "devices compare",
    )  # fmt: skip
    for command in COMMANDS:
        assert f"## {command}\n" in reference_page()
        assert f"edgecomp {command} " in help_text(*command.split())
    for option in ("--points", "--raw-error", "--max-error", "--target-error", "--reach"):
        assert option in help_text("compress")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_pages_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    first = {command.split()[0] for command in COMMANDS}
    named = re.search(rf"\bedgecomp ({'|'.join(sorted(first))})\b", text) is not None
    assert (check_page(text) > 0) == named


def test_commands_of_a_page_are_found() -> None:
    text = (
        "Say `edgecomp inspect\nf.gguf` or `edgecomp demo`, not edgecomp compress.\n\n"
        "    edgecomp inspect a.gguf  # a comment\n\n"
        "```sh\n$ edgecomp inspect b.gguf \\\n  --verify\nedgecomp demo\n```\n"
        "`edgecomp.inspect` in Python\n\n```\n  edgecomp inspect c.gguf\n```\n"
    )
    assert [" ".join(line.split()) for line in command_lines(text)] == [
        "edgecomp inspect b.gguf --verify",
        "edgecomp demo",
        "edgecomp inspect c.gguf",
        "edgecomp inspect a.gguf # a comment",
    ]
    assert mentions(text) == ["edgecomp inspect f.gguf", "edgecomp demo"]
    assert check_page(text) == 6
    assert check_page((ROOT / "docs" / "calibration.md").read_text(encoding="utf-8")) >= 3


@pytest.mark.parametrize(
    "text",
    [
        "    edgecomp squeeze m\n",
        "    edgecomp devices lst\n",
        "    edgecomp devices list --frobnicate\n",
        "```\nedgecomp compress m\n```\n",
        "```sh\nedgecomp inspect f --frobnicate\n```\n",
        "the command `edgecomp squeeze`",
        "or `edgecomp inspect f\n--frobnicate`",
    ],
)
def test_wrong_commands_are_seen(text: str) -> None:
    with pytest.raises(typer.TyperException):
        check_page(text)


def test_a_right_command_parses() -> None:
    parses(["compress", "m", "-o", "x", "--bits", "3"])
    parses(["devices", "compare", "a", "b", "--json"])
