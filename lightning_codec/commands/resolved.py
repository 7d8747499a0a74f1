"""The configuration of a `fit`, resolved as `fit` itself does it, for commands that look at it and train nothing."""

from collections.abc import Sequence

from jsonargparse import Namespace

from lightning_codec.commands.training import CodecCLI


class ResolvedCLI(CodecCLI):
    """Parses and stops."""

    def _set_seed(self) -> None:
        pass

    def before_instantiate_classes(self) -> None:
        """Nothing is checked."""

    def instantiate_classes(self) -> None:
        """Nothing is made."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def fit_configuration(arguments: Sequence[str]) -> Namespace:
    """What `lightning-codec fit ARGUMENTS` would run with.

    Raises:
        UserError: a configuration file is missing, a key misspelt, a value of the wrong type.
    """
    config: Namespace = ResolvedCLI("fit", list(arguments)).config["fit"]
    return config
