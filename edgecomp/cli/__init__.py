"""The command line: options, output, the demo."""

from edgecomp.cli.app import app, main

__all__ = ["app", "main"]
