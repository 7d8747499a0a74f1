"""The command line `lightning-codec`: finds the command, runs it, and turns what went wrong into one line.

Results go to stdout. An error is one line on stderr, `lightning-codec: error: ...`, and exit code 2; an
interrupt is exit code 130. With LIGHTNING_CODEC_DEBUG=1 the traceback of an error is shown as well.
"""

import os
import sys
import traceback
import warnings
from importlib import import_module
from typing import NamedTuple

from lightning_codec import __version__
from lightning_codec.commands.reporting import EXIT_ERROR, PROGRAM, report
from lightning_codec.errors import EXIT_INTERRUPT, UserError


class Command(NamedTuple):
    """A command: its name, one line about it, and the module that is imported when it runs.

    The module has `run(name: str, arguments: list[str]) -> int`, which returns the exit code.
    """

    name: str
    summary: str
    module: str


COMMANDS = (
    Command("fit", "train a model", "training"),
    Command("validate", "evaluate a checkpoint on the validation sets", "training"),
    Command("test", "evaluate a checkpoint on the test sets, every image coded and decoded", "training"),
    Command("predict", "folders of images to .lcb files, or these to PNG, over all processes", "training"),
    Command(
        "preflight", "what would make a training hang or fail, before it starts: devices, nodes, images", "preflight"
    ),
    Command("slurm", "the batch script of a training, written and submitted", "slurm"),
    Command("sweep", "a grid of trainings, as an array of Slurm jobs or in processes here, and its table", "sweep"),
    Command("compress", "images to .lcb files", "compress"),
    Command("decompress", ".lcb files to images", "decompress"),
    Command("info", "what the header of a .lcb file says", "info"),
    Command("models", "trained models that come with the package: list, info, verify, export, split", "models"),
    Command("weights", "networks of perceptual metrics: list, fetch ahead, verify", "weights"),
    Command("wandb-sync", "a Weights & Biases run from the history in a run folder", "wandb_sync"),
    Command("evaluate", "codecs on a set of images: tables, curves, BD-rates, a report", "evaluate"),
    Command("compare", "two evaluations, image by image, with confidence intervals", "compare"),
    Command("gallery", "codecs side by side at about the same rate, as one picture", "gallery"),
    Command("spectrum", "decoded pictures against originals: missing detail, grids, grain", "spectrum"),
    Command("receptive-fields", "how far the attention of an entropy model looks", "receptive_fields"),
    Command("benchmark", "speed and memory, as ratios measured in one run", "benchmark"),
)


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments after the program's name; default: those of the process.

    Returns:
        The exit code: 0, 2 after an error, 130 after an interrupt, 143 of a training that was told to stop.
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        with warnings.catch_warnings():
            # From compressai's imports; nothing that a user of this program could mend.
            warnings.filterwarnings("ignore", message=".*torch.jit.*")
            return _dispatch(arguments)
    except KeyboardInterrupt:
        return EXIT_INTERRUPT
    except SystemExit as stop:
        # --help and --print_config end like this, and Lightning once it has tidied up after an interrupt.
        if isinstance(stop.__context__, KeyboardInterrupt):
            return EXIT_INTERRUPT
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except (UserError, OSError) as error:
        if os.environ.get("LIGHTNING_CODEC_DEBUG") == "1":
            traceback.print_exc()
        report(error)
        return EXIT_ERROR


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        raise UserError(f"no command given; see {PROGRAM} --help")
    name, rest = arguments[0], arguments[1:]
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(f"{PROGRAM} {__version__}")
        return 0
    for command in COMMANDS:
        if command.name == name:
            module = import_module(f"lightning_codec.commands.{command.module}")
            code: int = module.run(name, rest)
            return code
    known = ", ".join(command.name for command in COMMANDS)
    raise UserError(f"unknown command {name!r}; the commands are {known}")


def _help() -> str:
    width = max(len(command.name) for command in COMMANDS)
    lines = (f"  {command.name:<{width}}  {command.summary}" for command in COMMANDS)
    return "\n".join(
        (
            f"usage: {PROGRAM} COMMAND ...",
            "",
            "Train, measure and use neural image codecs.",
            "",
            "commands:",
            *lines,
            "",
            f"{PROGRAM} COMMAND --help describes a command, {PROGRAM} --version prints the version.",
        )
    )
