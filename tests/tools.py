"""Programs that a test cannot do without."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from ssh_server import tool

__all__ = ["require"]


def require(what: str, tools: Sequence[str]) -> None:
    """Skips the test without the tools, loudly; in CI that is a failure."""
    missing = [name for name in tools if not tool(name)]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"{what} NOT TESTED: no {', '.join(missing)}")
    assert not missing, f"{missing} must be installed in CI"
