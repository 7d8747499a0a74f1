"""What processes, batches and accumulation come to, said once at the start of a training."""

import math
from typing import Any, cast

import lightning.pytorch as pl

from lightning_codec.data import CompressionDataModule


class GlobalBatch(pl.Callback):
    """Prints one line, on the first process: the batch of an optimiser step, the peak learning rate, steps.

    The learning rate is that of the configuration, which nothing scales: whoever trains with a larger global batch
    than an experiment was made for decides about it.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line."""
        if trainer.is_global_zero:
            print(summary(trainer), flush=True)


def summary(trainer: pl.Trainer) -> str:
    """The line, for a Trainer whose training begins."""
    accumulation = trainer.accumulate_grad_batches
    data: CompressionDataModule = cast("Any", trainer).datamodule
    size = trainer.world_size * data.batch_size * accumulation
    parts = f"processes {trainer.world_size} x batch_size {data.batch_size} x accumulate_grad_batches {accumulation}"
    rate = trainer.optimizers[0].param_groups[0]["initial_lr"]
    epoch = math.ceil(trainer.num_training_batches / accumulation)
    steps = f"{epoch} optimiser steps an epoch, {trainer.estimated_stepping_batches} in all"
    return f"global batch {size} = {parts}; learning rate {rate:g}, not scaled; {steps}"
