"""docs/cli.md and the commands in README.md are what the program takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from edgecomp.cli import app
from edgecomp.cli.reference import COMMANDS, help_text, reference_page

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def parses(words: list[str]) -> None:
    """Raises what the program would for a command line with wrong commands or options."""
    group = typer.main.get_command(app)
    name, command, rest = group.resolve_command(group.make_context("edgecomp", words[:1]), words)
    command.make_context(name, rest)


def commands(page: Path) -> list[str]:
    """The lines of a page that start with `edgecomp`, in code blocks."""
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    return re.findall(r"^ +(edgecomp .*)$", re.sub(r"^```$", "", text, flags=re.M), flags=re.M)


def test_page_is_the_help() -> None:
    """But for the places where lines are broken, which depend on typer's version."""
    page = (ROOT / "docs" / "cli.md").read_text()
    hint = "python -m edgecomp.cli.reference > docs/cli.md"
    assert page.split() == reference_page().split(), hint
    assert "\x08" not in page


def test_page_has_every_command_and_option() -> None:
    assert COMMANDS == ("calibrate", "compress", "inspect", "eval", "demo")
    for command in COMMANDS:
        assert f"## {command}\n" in reference_page()
        assert f"edgecomp {command} " in help_text(command)
    for option in ("--points", "--raw-error", "--max-error", "--target-error", "--reach"):
        assert option in help_text("compress")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_pages_exist(page: Path) -> None:
    for line in commands(page):
        parses(shlex.split(line, comments=True)[1:])


def test_wrong_commands_are_seen() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "cli.md"):
        assert commands(page)
    parses(["compress", "m", "-o", "x", "--bits", "3"])
    for words in (["squeeze", "m"], ["compress", "m"], ["inspect", "f", "--frobnicate"]):
        with pytest.raises(typer.TyperException):
            parses(words)
