"""`last.ckpt`, from which a training goes on as if it had never been interrupted."""

import copy
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from lightning_codec.errors import UserError
from lightning_codec.runs.requeue import requeue_signal
from lightning_codec.runs.signals import SignalWatch, Stopped

LAST = Path("checkpoints") / "last.ckpt"
IN_FIRST_IMAGE = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
NO_IMAGE = {"ready": 0, "started": 0, "processed": 0, "completed": 0}
VALIDATION = "epoch_loop.val_loop.batch_progress"


class LastCheckpoint(Checkpoint):
    """Writes `checkpoints/last.ckpt` in the run folder, always over the one before, and stops on a signal.

    It is written every so often, before and after every validation, at the end of the training, and when SIGTERM,
    SIGUSR1 or SIGINT has come: then the step is finished, the checkpoint is written and `Stopped` is raised, on all
    processes at the same step though only one got the signal. (A signal during a validation interrupts the validation
    of a single process, whose checkpoint is there already; several processes finish it first.)

    A checkpoint is written between two optimiser steps, when what the step has logged is in the history, and with the
    Trainer's counters as they were at the end of that step, from where the Trainer is known to go on without repeating
    or leaving out a batch or a validation. Its other moments are not safe: after the end of an epoch it repeats or
    skips batches, before a validation it leaves that out.

    Args:
        every_n_minutes: at the latest after so many minutes of training; 0 is at every step.
        every_n_steps: also whenever so many optimiser steps are done; None: by time alone.
    """

    def __init__(self, every_n_minutes: float = 10.0, every_n_steps: int | None = None) -> None:
        if every_n_minutes < 0:
            raise UserError(f"last.every_n_minutes is {every_n_minutes}: it must be 0 or more")
        if every_n_steps is not None and every_n_steps < 1:
            raise UserError(f"last.every_n_steps is {every_n_steps}: it must be 1 or more")
        self.every_n_minutes = every_n_minutes
        self.every_n_steps = every_n_steps
        self._watch = SignalWatch()
        self.path = LAST
        self._counters: dict[str, Any] | None = None
        self._epoch = 0
        self._written_step = -1
        self._written_time = 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find the run folder."""
        self.path = Path(trainer.log_dir or trainer.default_root_dir) / LAST

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen from now on: the Trainer has just set handlers of its own, which would stop in the middle."""
        self._watch.listen(requeue_signal(trainer))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen, and count the minutes from here."""
        self._watch.listen(requeue_signal(trainer))
        self._counters = None
        self._written_step, self._written_time = trainer.global_step, time.monotonic()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Remember the counters; amid the batches of one optimiser step there is no place to go on from."""
        self._remember(trainer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Between two steps: write if it is time, and stop if that is asked for."""
        if self._counters is None:
            return
        decide = trainer.strategy.reduce_boolean_decision
        if not decide(self._watch.received is not None or self._due(trainer), all=False):
            return
        self._write(trainer)
        self._stop_if_asked(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A validation may take long: what is trained is safe before. Who goes on from here validates first."""
        self._remember(trainer)
        if self._counters is None:
            return
        # as within the first image, where the Trainer begins the whole validation again
        for count in ("total", "current"):
            self._counters[VALIDATION][count] = IN_FIRST_IMAGE
        self._write(trainer)
        self._stop_if_asked(trainer)

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop at once if alone; processes cannot agree here, they have different numbers of images."""
        if trainer.world_size == 1 and self._counters is not None and self._watch.received is not None:
            raise Stopped(self._watch.received, trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write again: this validation is done, and `ModelCheckpoint` has taken note of it."""
        self._remember(trainer)
        if self._counters is not None:
            self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what is not written yet."""
        if self._counters is not None and self._written_step != trainer.global_step:
            self._write(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the counters of the last step in place of those of this moment."""
        if self._counters is not None:
            checkpoint["loops"]["fit_loop"] = self._counters
            checkpoint["epoch"] = self._epoch

    def _remember(self, trainer: pl.Trainer) -> None:
        """Keep the Trainer's counters, unless this is no place to go on from."""
        between_steps = not trainer.sanity_checking and not trainer.fit_loop._should_accumulate()
        self._counters = copy.deepcopy(trainer.fit_loop.state_dict()) if between_steps else None
        self._epoch = trainer.current_epoch
        if self._counters is not None:
            # A run that goes on would count the images of the last validation as seen in its first one; and of a
            # validation that came again the total says for ever that one is in work.
            for count in ("total", "current"):
                self._counters[VALIDATION][count] = NO_IMAGE

    def _due(self, trainer: pl.Trainer) -> bool:
        step = trainer.global_step
        if step == self._written_step:
            return False
        if self.every_n_steps is not None and step % self.every_n_steps == 0:
            return True
        # one clock is enough, and several never agree
        return trainer.is_global_zero and time.monotonic() - self._written_time >= 60.0 * self.every_n_minutes

    def _write(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path, weights_only=False)
        self._written_step, self._written_time = trainer.global_step, time.monotonic()

    def _stop_if_asked(self, trainer: pl.Trainer) -> None:
        for signum in self._watch.signals:
            if trainer.strategy.reduce_boolean_decision(self._watch.received == signum, all=False):
                raise Stopped(signum, trainer.global_step)
