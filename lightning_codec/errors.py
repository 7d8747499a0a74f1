"""Errors that are the user's to mend: the command line shows each as one line and exits with code 2."""

EXIT_INTERRUPT = 130
"""128 + SIGINT, as a shell says it."""

EXIT_TERMINATED = 143
"""128 + SIGTERM: what was ended before its time is no success. A training that has written its checkpoint and stopped
after SIGTERM, or SIGUSR1 of a cluster, says so too; the same command goes on with it."""


class UserError(Exception):
    """Something that was given is wrong. The message is one line: what, where, which rule, what to do."""


def one_line(error: BaseException) -> str:
    """What an exception says, on one line; for an error of the operating system, the file first."""
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return ": ".join([*names, error.strerror])
    return " ".join(str(error).split()) or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: torch reports that of a tensor as a RuntimeError that says so."""
    said = str(error)
    denied = "memory" in said and "illegal" not in said  # an illegal access is the end of a GPU's work
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and denied)
