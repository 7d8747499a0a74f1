"""Pictures and tables to every logger that can show them, at the step of the weights that they tell of."""

from collections.abc import Mapping
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image

from lightning_codec.tracking.history import Entry, HistoryLogger, Picture, Table
from lightning_codec.tracking.wandb_run import WandbRun, wandb_values


def publish(
    trainer: pl.Trainer,
    folder: Path,
    step: int,
    pictures: Mapping[str, Picture] | None = None,
    tables: Mapping[str, Table] | None = None,
) -> None:
    """Hand pictures and tables to the loggers, which are those of the first process; each logger gets one call.

    Args:
        trainer: whose loggers.
        folder: the run's, to which the pictures' paths are relative.
        step: optimiser step of the weights.
        pictures: by their tags.
        tables: by their tags.
    """
    entry = Entry(step, pictures=dict(pictures or {}), tables=dict(tables or {}))
    if entry.media == 0 or not trainer.is_global_zero:
        return
    for logger in trainer.loggers:
        if isinstance(logger, HistoryLogger | WandbRun):
            logger.log_entry(entry)
        elif isinstance(logger, WandbLogger):
            logger.experiment.log(wandb_values(entry, folder))
        elif isinstance(logger, TensorBoardLogger):
            for tag, picture in entry.pictures.items():
                pixels = np.asarray(Image.open(folder / picture.path))
                logger.experiment.add_image(tag, pixels, step, dataformats="HWC")
