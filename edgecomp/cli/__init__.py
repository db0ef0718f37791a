"""The command line: options, output, the demo."""

import sys

__all__ = ["main"]


def main() -> None:
    """Runs the command line and exits; importing it takes long enough to be interrupted."""
    try:
        from edgecomp.cli.app import main as run

        run()
    except KeyboardInterrupt:  # before typer looks after it
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
