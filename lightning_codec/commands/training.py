"""`lightning-codec fit | validate | test | predict`: LightningCLI with the project's defaults."""

import argparse
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lightning_codec.callbacks import (
    CodecProgressBar,
    FrechetDistances,
    GlobalBatch,
    ImagePanels,
    LcbWriter,
    NonFiniteGuard,
    PerceptualMetrics,
    RateDistortion,
    Reconstructions,
    Triplets,
)
from lightning_codec.checkpoint import read_checkpoint
from lightning_codec.cluster.preflight import preflight_under_slurm
from lightning_codec.commands.reporting import PROGRAM, one_line
from lightning_codec.data import CompressionDataModule
from lightning_codec.errors import EXIT_TERMINATED, UserError
from lightning_codec.tracking.history import HistoryLogger, HistoryRewind, continued_history
from lightning_codec.tracking.wandb_run import WandbConfig, WandbRun, finish, settled_run_id

# Callbacks of every run, each configured under its own key: a `callbacks` list in a later configuration
# replaces an earlier one as a whole and could drop them.
CALLBACKS: dict[str, type[pl.Callback]] = {
    "rate_distortion": RateDistortion,
    "perceptual": PerceptualMetrics,
    "frechet": FrechetDistances,
    "reconstructions": Reconstructions,
    "triplets": Triplets,
    "panels": ImagePanels,
    "non_finite_guard": NonFiniteGuard,
    "lcb_writer": LcbWriter,
    "progress_bar": CodecProgressBar,
    "global_batch": GlobalBatch,
    "checkpoint": ModelCheckpoint,
}
DEFAULTS = {
    "checkpoint.monitor": "val/loss",
    "checkpoint.filename": "best",
    "checkpoint.save_last": True,
}
# Before those of the user: at test `RateDistortion` prints the table, Lightning would print another.
FIRST_ARGUMENTS = {"test": ("--verbose=false",)}
# Names that the Trainer resolves to a file itself.
NAMED_CHECKPOINTS = ("best", "last", "hpc")


class CodecCLI(LightningCLI):
    """`fit`, `validate`, `test` and `predict` for any LightningModule on `CompressionDataModule`.

    Every run gets its own folder `<trainer.default_root_dir>/version_<n>` unless a logger is configured.

    Args:
        command: one of the four.
        arguments: what follows it on the command line.
    """

    def __init__(self, command: str, arguments: list[str]) -> None:
        self.command = command
        super().__init__(
            pl.LightningModule,
            CompressionDataModule,
            subclass_mode_model=True,
            seed_everything_default=0,
            trainer_defaults={"default_root_dir": "runs"},
            save_config_kwargs={"overwrite": True},
            # Without abbreviations: a misspelt `--trainer.max_step` must not pass for another option.
            parser_kwargs={"prog": PROGRAM, "exit_on_error": False, "allow_abbrev": False},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=with_model_of_checkpoint(command, [*FIRST_ARGUMENTS.get(command, ()), *arguments]),
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Only the command that runs: the parsers of all four would take four times as long to make."""
        return {self.command: LightningCLI.subcommands()[self.command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks of every run."""
        for key, callback in CALLBACKS.items():
            parser.add_lightning_class_args(callback, key)
        parser.add_class_arguments(WandbConfig, "wandb")
        parser.set_defaults(DEFAULTS)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:  # noqa: ANN401
        """Parse; what is wrong is the user's to mend."""
        try:
            self.config = parser.parse_args(args)
        except argparse.ArgumentError as error:
            raise UserError(essence(error)) from error

    def before_instantiate_classes(self) -> None:
        """In a Slurm job: stop at what would make the training hang, before anything waits for another process."""
        if self.command == "fit":
            preflight_under_slurm(self.config[self.command])

    def instantiate_classes(self) -> None:
        """Make model, data and Trainer; a value that one of them refuses is an error of the configuration."""
        try:
            super().instantiate_classes()
        except (ValueError, MisconfigurationException) as error:
            raise UserError(f"configuration: {essence(error)}") from error

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:  # noqa: ANN401
        """Make the Trainer with the callbacks of every run, and a CSV logger where none is configured."""
        settings = {**self._get(self.config_init, "trainer"), **kwargs}
        if settings["logger"] in (None, True):
            settings["logger"] = CSVLogger(settings["default_root_dir"], name="")
        # The Trainer refuses a progress bar and checkpoints that its own switches turn off, but in a trial run the
        # callback would write one nevertheless.
        off = {
            "progress_bar": settings["enable_progress_bar"] is False,
            "checkpoint": settings["enable_checkpointing"] is False or settings["fast_dev_run"],
        }
        callbacks = [self._get(self.config_init, key) for key in CALLBACKS if not off.get(key, False)]
        trainer = self._instantiate_trainer(settings, [*callbacks, HistoryRewind()])
        wandb: WandbConfig = self._get(self.config_init, "wandb")
        if settings["fast_dev_run"]:
            return trainer
        if trainer.loggers:
            trainer.loggers = [*trainer.loggers, *self._trackers(trainer, wandb)]
        elif wandb.mode != "off":
            raise UserError(f"wandb.mode is {wandb.mode}: it needs the folder of a logger, but trainer.logger is false")
        return trainer

    def _trackers(self, trainer: pl.Trainer, wandb: WandbConfig) -> list[Logger]:
        """The history of the run, and its W&B run if one is wanted; both go on where a resumed run stood."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)
        if not trainer.is_global_zero:
            return [HistoryLogger(folder)]
        checkpoint = self._get(self.config_init, "ckpt_path") if self.command == "fit" else None
        origin = None if checkpoint in (None, *NAMED_CHECKPOINTS) else Path(checkpoint).absolute().parent.parent
        earlier = continued_history(folder, origin)
        history = HistoryLogger(folder, earlier)
        if wandb.mode == "off":
            return [history]
        # It makes the folder, which the CSV logger wants to find empty.
        _ = getattr(trainer.logger, "experiment", None)
        settings = yaml.safe_load(self.parser.dump(self.config, skip_none=False))[self.command]
        media = sum(entry.media for entry in earlier)
        return [history, WandbRun(wandb, folder, settled_run_id(folder, origin), settings, media)]

    def after_fit(self) -> None:
        """Say where the last checkpoint is."""
        path = final_checkpoint(self.trainer)
        if path is not None:
            rank_zero_only(print)(f"checkpoint: {path}")


def with_model_of_checkpoint(command: str, arguments: Sequence[str]) -> list[str]:
    """The command and its arguments, with the model of `--ckpt_path` put before all others, which override it.

    A checkpoint records its LightningModule and the arguments of that; `fit` takes the model from the
    configuration.

    Raises:
        CheckpointError: the file of `--ckpt_path` is missing or not a checkpoint of this package.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--ckpt_path")
    path = parser.parse_known_args(arguments)[0].ckpt_path
    if path is None or path in NAMED_CHECKPOINTS:
        return [command, *arguments]
    checkpoint = read_checkpoint(path)
    if command == "fit":
        return [command, *arguments]
    model = {"class_path": checkpoint.module, "init_args": checkpoint.init_args}
    return [command, f"--model={json.dumps(model)}", *arguments]


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


def final_checkpoint(trainer: pl.Trainer) -> Path | None:
    """The checkpoint of the last step, written now if the training stopped between two; None where they are off."""
    callback = trainer.checkpoint_callback
    if not isinstance(callback, ModelCheckpoint) or not callback.save_last or callback.dirpath is None:
        return None
    path = Path(callback.last_model_path or Path(callback.dirpath) / "last.ckpt")
    stored = torch.load(path, weights_only=True, mmap=True)["global_step"] if path.is_file() else None
    if stored != trainer.global_step:
        trainer.save_checkpoint(path, weights_only=False)
    return path


def run(name: str, arguments: list[str]) -> int:
    """Run the Trainer; returns the exit code."""
    # Loaders that need no workers, Lightning's own use of torch, and a test in another folder than its training.
    for harmless in ("does not have many workers", "treespec, LeafSpec", "The dirpath has changed"):
        warnings.filterwarnings("ignore", message=f".*{harmless}.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_not_advertisement)
    failed = True
    try:
        CodecCLI(name, arguments)
        failed = False
    except MisconfigurationException as error:
        raise UserError(one_line(error)) from error
    except SIGTERMException:
        return EXIT_TERMINATED
    except RuntimeError as error:
        if "loading state_dict" in str(error):
            raise UserError(
                f"the checkpoint's weights do not fit the configured model ({len(str(error).splitlines()) - 1} "
                "differences); configure the model that it was trained with"
            ) from error
        raise
    finally:
        finish(failed)
    return 0


def _not_advertisement(record: logging.LogRecord) -> bool:
    return "Tip: For seamless" not in record.getMessage()
