"""Errors that are the user's to mend: the command line shows each as one line and exits with code 2."""

EXIT_TERMINATED = 143
"""128 + SIGTERM, as a shell says it: what was ended before its time is no success."""


class UserError(Exception):
    """Something that was given is wrong. The message is one line: what, where, which rule, what to do."""
