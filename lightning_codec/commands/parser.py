"""Argument parsing that the codec's commands share."""

import argparse
import re
import textwrap
from pathlib import Path
from typing import NoReturn

from lightning_codec.commands.reporting import PROGRAM
from lightning_codec.errors import UserError

MODEL_VARIABLE = "LIGHTNING_CODEC_MODEL"


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are `UserError`s, one line without the usage."""

    def __init__(self, command: str, description: str, example: str) -> None:
        super().__init__(
            prog=f"{PROGRAM} {command}",
            description=textwrap.fill(description, 79),
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise UserError(f"{message}; see {self.prog} --help")


def positive(text: str) -> int:
    """An integer of at least 1, for `type=`."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def fraction(text: str) -> float:
    """A number in [0, 1], for `type=`."""
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} does not lie in [0, 1]")
    return value


def seed(text: str) -> int:
    """An integer in [0, 2^63), for `type=`."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise ValueError
    return value


def memory_size(text: str) -> int:
    """A number of bytes from "512MiB" or "1.5GiB", for `type=`."""
    size = re.fullmatch(r"(\d+(?:\.\d+)?) ?([MG])iB", text)
    if size is None:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number with its unit, such as 1500MiB or 4GiB")
    return int(float(size[1]) * {"M": 2**20, "G": 2**30}[size[2]])


def add_conversion_arguments(parser: CommandParser, metavar: str, what: str, shipped: str) -> None:
    """The arguments of `compress` and `decompress`: inputs, -o, --model, --force, --threads.

    Args:
        parser: to which they are added.
        metavar: of an input.
        what: the inputs are.
        shipped: which of the models that ship is used where none is named.
    """
    parser.add_argument("inputs", metavar=metavar, nargs="+", type=Path, help=f"{what}, or folders of them")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="file to write or an existing folder; for several inputs or a folder: a folder, made if needed",
    )
    parser.add_argument(
        "--model",
        metavar="CKPT",
        type=Path,
        help="checkpoint as written by fit, or the name of a model that ships "
        f"(default: the variable {MODEL_VARIABLE}, or else {shipped})",
    )
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    parser.add_argument(
        "--threads",
        metavar="N",
        type=positive,
        help="CPU threads to use (default: as many as there are cores)",
    )
