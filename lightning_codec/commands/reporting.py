"""How the command line speaks of errors: one line on stderr."""

import sys

from lightning_codec.errors import UserError, one_line

__all__ = ["EXIT_ERROR", "PROGRAM", "one_line", "report"]

PROGRAM = "lightning-codec"
EXIT_ERROR = 2


def report(error: UserError | OSError) -> None:
    """Print `lightning-codec: error: ...` on stderr."""
    print(f"{PROGRAM}: error: {one_line(error)}", file=sys.stderr)
