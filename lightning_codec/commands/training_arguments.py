"""What comes before the arguments of the training commands: the model of a checkpoint, the settings of a run."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_codec.checkpoint import Checkpoint, read_checkpoint
from lightning_codec.errors import UserError
from lightning_codec.runs.manifest import differences, read_manifest

# Before those of the user: at test `RateDistortion` prints the table, Lightning would print another.
FIRST_ARGUMENTS = {"test": ("--verbose=false",), "predict": ("--return_predictions=false",)}
# Names that the Trainer resolves to a file itself.
NAMED_CHECKPOINTS = ("best", "last", "hpc")


class Arguments(NamedTuple):
    """The arguments of a training command, completed."""

    words: list[str]
    """the command and all its arguments; later ones override earlier ones"""
    checkpoint: Checkpoint | None
    """what `--ckpt_path` names, without the weights"""
    manifest: str | None
    """the file that `--from-manifest` names, absolute"""


def complete(command: str, arguments: Sequence[str]) -> Arguments:
    """Put first what the user's arguments override: the settings of a manifest, the model of a checkpoint.

    A checkpoint records its LightningModule and the arguments of that; `fit` takes the model from the configuration.

    Raises:
        CheckpointError: the file of `--ckpt_path` is missing or not a checkpoint of this package.
        UserError: the file of `--from-manifest` is missing or damaged, or the command is not `fit`.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--ckpt_path")
    parser.add_argument("--from-manifest", "--from_manifest")
    try:
        known, _ = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from error
    first = list(FIRST_ARGUMENTS.get(command, ()))
    manifest = None
    if known.from_manifest is not None:
        if command != "fit":
            raise UserError(f"--from-manifest repeats a training: give it to fit, not to {command}")
        manifest = Path(known.from_manifest).absolute()
        settings = {k: v for k, v in read_manifest(manifest).configuration.items() if k != "resume"}
        first.append(f"--config={json.dumps(settings)}")
        arguments = _without(arguments, ("--from-manifest", "--from_manifest"))
    checkpoint = None
    if known.ckpt_path is not None and known.ckpt_path not in NAMED_CHECKPOINTS:
        checkpoint = read_checkpoint(known.ckpt_path)._replace(state_dict={})
        if command != "fit":
            model = {"class_path": checkpoint.module, "init_args": checkpoint.init_args}
            first.insert(0, f"--model={json.dumps(model)}")
    return Arguments([command, *first, *arguments], checkpoint, None if manifest is None else str(manifest))


def changes_since(checkpoint: Checkpoint, configuration: dict[str, object]) -> list[str]:
    """One line for each setting in which a configuration differs from that of the run that wrote a checkpoint."""
    recorded = checkpoint.configuration
    if recorded:
        # where the run lies is no setting of it, and from what it went on even less
        ours = {name: value for name, value in configuration.items() if name != "ckpt_path"}
        return differences({name: value for name, value in recorded.items() if name != "ckpt_path"}, ours)
    model = configuration["model"]
    assert isinstance(model, dict)
    # what the record leaves out, such as where weights came from, was not recorded, not absent
    init_args = {name: value for name, value in model["init_args"].items() if name in checkpoint.init_args}
    return differences({"model": {"init_args": checkpoint.init_args}}, {"model": {"init_args": init_args}})


def essence(error: Exception) -> str:
    """What jsonargparse found wrong, on one line.

    A key that takes a class or nothing reports both attempts and repeats the whole value.
    """
    noise = (
        "Does not validate against any of",
        "Subtypes:",
        "Errors:",
        "- Expected a <class 'NoneType'>",
        "Given value",
    )
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line.removeprefix("- ") for line in lines if line and not line.startswith(noise))


def _without(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """The arguments without some options and their values."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in options:
            next(words, None)
        elif not word.startswith(tuple(f"{option}=" for option in options)):
            kept.append(word)
    return kept
