"""`lightning-codec fit | validate | test | predict`: LightningCLI with the project's defaults."""

import argparse
import logging
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lightning_codec.callbacks import (
    CodecProgressBar,
    FrechetDistances,
    GlobalBatch,
    ImagePanels,
    LastCheckpoint,
    LcbWriter,
    NonFiniteGuard,
    PerceptualMetrics,
    PngWriter,
    RateDistortion,
    Reconstructions,
    Triplets,
)
from lightning_codec.callbacks.configured_optimizer import ConfiguredOptimizer
from lightning_codec.callbacks.run_manifest import RunManifest
from lightning_codec.callbacks.slow_precision import SlowPrecision
from lightning_codec.cluster.preflight import preflight_under_slurm
from lightning_codec.commands.reporting import PROGRAM, one_line
from lightning_codec.commands.training_arguments import NAMED_CHECKPOINTS, changes_since, complete, essence
from lightning_codec.data import CompressionDataModule
from lightning_codec.errors import EXIT_INTERRUPT, EXIT_TERMINATED, UserError
from lightning_codec.lock import FolderLock
from lightning_codec.runs.checkpoint_io import AtomicCheckpointIO
from lightning_codec.runs.manifest import Manifest
from lightning_codec.runs.opening import Opening, lock_run, new_folder, open_run, together
from lightning_codec.runs.requeue import requeue, requeue_signal, restarted_job
from lightning_codec.runs.signals import Stopped
from lightning_codec.tracking.history import HistoryLogger, HistoryRewind, continued_history
from lightning_codec.tracking.placement import run_root, settle
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
    "png_writer": PngWriter,
    "progress_bar": CodecProgressBar,
    "global_batch": GlobalBatch,
    "checkpoint": ModelCheckpoint,
    "last": LastCheckpoint,
}
# Arguments of a LightningModule that say where a training takes its first weights from.
ORIGINS = frozenset({"codec", "start_from"})
DEFAULTS = {
    "checkpoint.monitor": "val/loss",
    "checkpoint.filename": "best",
    # The best of a run that goes on takes the place of the one before, whether or not that is on record.
    "checkpoint.enable_version_counter": False,
    # Only the state after a validation can be gone on from exactly.
    "checkpoint.save_on_train_epoch_end": False,
}
# Loaders that need no workers, Lightning's own use of torch, a test in another folder than its training, the folder of
# a run that goes on, whose metrics.csv is filled again, and a prediction of which all is done already.
HARMLESS = (
    "does not have many workers",
    "treespec, LeafSpec",
    "The dirpath has changed",
    "exists and is not empty",
    "across ranks is zero",
)


class CodecCLI(LightningCLI):
    """`fit`, `validate`, `test` and `predict` for any LightningModule on `CompressionDataModule`.

    Every run gets its own folder `<trainer.default_root_dir>/version_<n>` unless a logger is configured. A `fit` with
    the configuration of an earlier one that has not come to its end goes on in the folder of that.

    Args:
        command: one of the four.
        arguments: what follows it on the command line.
    """

    def __init__(self, command: str, arguments: list[str]) -> None:
        self.command = command
        self.arguments = complete(command, arguments)
        self.lock: FolderLock | None = None
        self.stopped: Stopped | None = None
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
            args=self.arguments.words,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # a static method there
        """Only the command that runs: the parsers of all four would take four times as long to make."""
        return {self.command: LightningCLI.subcommands()[self.command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks of every run, and how it is gone about."""
        for key, callback in CALLBACKS.items():
            parser.add_lightning_class_args(callback, key)
        parser.add_class_arguments(WandbConfig, "wandb")
        parser.set_defaults(DEFAULTS)
        if self.command == "fit":
            parser.add_argument(
                "--resume",
                type=bool,
                default=True,
                help="Go on with the newest run of this very configuration that has not come to its end; false: "
                "begin a new one (a job that its cluster puts back into the queue goes on all the same). "
                "--from-manifest RUN_DIR/manifest.json takes every setting from another run and repeats it.",
            )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:  # noqa: ANN401 - as LightningCLI has it
        """Parse; what is wrong is the user's to mend."""
        try:
            self.config = parser.parse_args(args)
        except argparse.ArgumentError as error:
            raise UserError(essence(error)) from error

    def before_instantiate_classes(self) -> None:
        """Leave alone what the weights of a finished training came from: its checkpoint brings all of them.

        In a Slurm job, stop at what would make the command hang, before anything waits for another process.
        """
        config = self.config[self.command]
        if self.command != "fit" and self.arguments.checkpoint is not None:
            for name in ORIGINS.intersection(vars(config.model.init_args)):
                config.model.init_args[name] = None
        preflight_under_slurm(config, self.command)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting of the command, as plain values."""
        plain: dict[str, Any] = yaml.safe_load(self.parser.dump(self.config, skip_none=False))[self.command]
        return plain

    def instantiate_classes(self) -> None:
        """Make model, data and Trainer; a value that one of them refuses is an error of the configuration."""
        try:
            super().instantiate_classes()
        except (ValueError, MisconfigurationException) as error:
            raise UserError(f"configuration: {essence(error)}") from error

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:  # noqa: ANN401 - as LightningCLI calls it
        """Make the Trainer with the callbacks of every run, and a CSV logger where none is configured."""
        settings = {**self._get(self.config_init, "trainer"), **kwargs}
        if settings["logger"] in (None, True):
            settings["logger"] = CSVLogger(settings["default_root_dir"], name="")
        plugins = settings["plugins"] or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins = [*plugins, AtomicCheckpointIO()]
        settings["plugins"] = plugins
        # The Trainer refuses a progress bar and checkpoints that its own switches turn off, but in a trial run the
        # callback would write one nevertheless.
        no_checkpoints = settings["enable_checkpointing"] is False or settings["fast_dev_run"]
        off = {
            "progress_bar": settings["enable_progress_bar"] is False,
            "checkpoint": no_checkpoints,
            "last": no_checkpoints,
        }
        callbacks = [self._get(self.config_init, key) for key in CALLBACKS if not off.get(key, False)]
        _check(self._get(self.config_init, "checkpoint"))
        wandb: WandbConfig = self._get(self.config_init, "wandb")
        if settings["logger"] is False and wandb.mode != "off" and not settings["fast_dev_run"]:
            raise UserError(f"wandb.mode is {wandb.mode}: it needs the folder of a logger, but trainer.logger is false")
        further = [HistoryRewind(), ConfiguredOptimizer(), SlowPrecision()]
        return self._instantiate_trainer(settings, [*callbacks, *further])

    def fit(self, **arguments: Any) -> None:  # noqa: ANN401 - as LightningCLI calls it
        """Train, in the folder of the same command's earlier run if that has not come to its end."""
        trainer, say = self.trainer, rank_zero_only(print)
        settings = self.settings
        if self._trial:
            trainer.fit(**arguments)
            return
        wanted = Manifest(settings, self.arguments.manifest)
        opening = self._open(lambda root, name: open_run(root, name, wanted, self._afresh, self._lock))
        folder = None
        if opening is not None:
            say(opening.news)
            if opening.finished:
                return
            folder, checkpoint = opening.folder, opening.checkpoint
            arguments["ckpt_path"] = checkpoint or arguments["ckpt_path"]
            if checkpoint is None and self.arguments.checkpoint is not None:
                for line in changes_since(self.arguments.checkpoint, settings):
                    say(f"changed since the checkpoint: {line}")
        self._callbacks.insert(0, RunManifest(settings, folder))
        try:
            trainer.fit(**arguments)
        except Stopped as stop:
            self.stopped = stop
            say(f"{stop}; checkpoint: {_last_checkpoint(trainer)}; the same command goes on from there", flush=True)
            return
        if (path := _last_checkpoint(trainer)) is not None:
            say(f"checkpoint: {path}")

    def before_test(self) -> None:
        """Give the evaluation a folder of its own."""
        if not self._trial:
            self._open(lambda root, name: Opening(new_folder(root) if name is None else root / name, ""))

    before_validate = before_predict = before_test

    @property
    def exit_code(self) -> int:
        """0 after a complete run; of one that was stopped, what its first process says, the others being in order."""
        if self.stopped is None or not self.trainer.is_global_zero:
            return 0
        return EXIT_INTERRUPT if self.stopped.signum == signal.SIGINT else EXIT_TERMINATED

    @property
    def to_be_requeued(self) -> bool:
        """Whether this process is to put its job back into the queue."""
        asked = self.stopped is not None and self.stopped.signum == requeue_signal(self.trainer)
        return asked and self.trainer.is_global_zero

    @property
    def _trial(self) -> bool:
        """A run of a few batches that leaves nothing behind."""
        return bool(cast("Any", self.trainer).fast_dev_run)

    @property
    def _callbacks(self) -> list[pl.Callback]:
        callbacks: list[pl.Callback] = cast("Any", self.trainer).callbacks
        return callbacks

    @property
    def _afresh(self) -> bool:
        return not self._get(self.config, "resume") and not restarted_job()

    def _lock(self, folder: Path) -> None:
        self.lock = lock_run(folder)

    def _open(self, find: Callable[[Path, str | None], Opening]) -> Opening | None:
        """Settle on the run's folder, on all processes, and have the loggers write there.

        None where the first logger is not one that makes a folder for every run.
        """
        trainer = self.trainer
        place = run_root(trainer.loggers)
        opening = None if place is None else together(trainer, lambda: find(*place))
        if opening is not None and opening.finished:
            return opening
        if opening is not None:
            settle(trainer.loggers, opening.folder, opening.step)
        if trainer.loggers:
            folder = Path(trainer.log_dir or trainer.default_root_dir) if opening is None else opening.folder
            trainer.loggers = [*trainer.loggers, *self._trackers(folder)]
        return opening

    def _trackers(self, folder: Path) -> list[Logger]:
        """The history of the run, and its W&B run if one is wanted; both go on where a resumed run stood."""
        if not self.trainer.is_global_zero:
            return [HistoryLogger(folder)]
        checkpoint = self._get(self.config_init, "ckpt_path") if self.command == "fit" else None
        origin = None if checkpoint in (None, *NAMED_CHECKPOINTS) else Path(checkpoint).absolute().parent.parent
        earlier = continued_history(folder, origin)
        history = HistoryLogger(folder, earlier)
        wandb: WandbConfig = self._get(self.config_init, "wandb")
        if wandb.mode == "off":
            return [history]
        media = sum(entry.media for entry in earlier)
        return [history, WandbRun(wandb, folder, settled_run_id(folder, origin), self.settings, media)]


def _last_checkpoint(trainer: pl.Trainer) -> Path | None:
    """The checkpoint of the last step; None where they are off or no step was taken."""
    paths = [callback.path for callback in trainer.checkpoint_callbacks if isinstance(callback, LastCheckpoint)]
    return paths[0] if paths and paths[0].is_file() else None


def _check(checkpoint: ModelCheckpoint) -> None:
    """Refuse settings under which one file would be written twice.

    Raises:
        UserError: so it is.
    """
    if checkpoint.save_last:
        raise UserError("checkpoint.save_last: last.ckpt is written anyway; see the key `last` for how often")
    if checkpoint.save_top_k not in (0, 1) and "{" not in (checkpoint.filename or "{"):
        raise UserError(
            f"checkpoint.save_top_k is {checkpoint.save_top_k}, but all would be called {checkpoint.filename}.ckpt: "
            "set checkpoint.filename to something like 'step-{step}'"
        )


def run(name: str, arguments: list[str]) -> int:
    """Run the Trainer; returns the exit code."""
    for harmless in HARMLESS:
        warnings.filterwarnings("ignore", message=f".*{harmless}.*")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_not_advertisement)
    failed, code = True, 0
    try:
        cli = CodecCLI(name, arguments)
        code = cli.exit_code
        failed = code != 0
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
    if cli.lock is not None:
        cli.lock.release()
    if cli.to_be_requeued:
        requeue()
    return code


def _not_advertisement(record: logging.LogRecord) -> bool:
    return "Tip: For seamless" not in record.getMessage()
