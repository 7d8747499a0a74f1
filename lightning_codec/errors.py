"""Errors that are the user's to mend: the command line shows each as one line and exits with code 2."""


class UserError(Exception):
    """Something that was given is wrong. The message is one line: what, where, which rule, what to do."""
