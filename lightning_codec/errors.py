"""Errors that are the user's to mend: the command line shows each as one line and exits with code 2."""

EXIT_INTERRUPT = 130
"""128 + SIGINT, as a shell says it."""

EXIT_TERMINATED = 143
"""128 + SIGTERM: what was ended before its time is no success. A training that has written its checkpoint and stopped
after SIGTERM, or SIGUSR1 of a cluster, says so too; the same command goes on with it."""


class UserError(Exception):
    """Something that was given is wrong. The message is one line: what, where, which rule, what to do."""
