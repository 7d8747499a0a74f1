"""How the command line speaks of errors: one line on stderr."""

import sys

from lightning_codec.errors import UserError

PROGRAM = "lightning-codec"
EXIT_ERROR = 2


def report(error: UserError | OSError) -> None:
    """Print `lightning-codec: error: ...` on stderr."""
    print(f"{PROGRAM}: error: {one_line(error)}", file=sys.stderr)


def one_line(error: BaseException) -> str:
    """What an exception says, on one line; for an error of the operating system, the file first."""
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return ": ".join([*names, error.strerror])
    return " ".join(str(error).split()) or type(error).__name__
