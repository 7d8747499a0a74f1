"""Where Lightning's loggers of files write: all of a run in one folder, also when it goes on."""

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger


def run_root(loggers: Sequence[Logger]) -> tuple[Path, str | None] | None:
    """The folder of the run folders, and the name of the run's where one is configured; as the first logger has it.

    None where that makes no folder for every run.
    """
    if not loggers or not isinstance(loggers[0], CSVLogger | TensorBoardLogger):
        return None
    version = loggers[0]._version
    name = f"version_{version}" if isinstance(version, int) else version
    return Path(loggers[0].root_dir), name


def settle(loggers: Sequence[Logger], folder: Path, step: int) -> None:
    """Have the loggers of this root write to `folder`, whatever they would find free themselves.

    Args:
        loggers: of the Trainer.
        folder: of the run.
        step: from which the run goes on; TensorBoard hides what an interrupted run has logged after it.
    """
    for logger in loggers:
        # There is no way to set a version but at construction, when it is not known yet.
        if isinstance(logger, CSVLogger | TensorBoardLogger) and Path(logger.root_dir) == folder.parent:
            logger._version = folder.name
            if isinstance(logger, TensorBoardLogger) and step > 0:
                logger._kwargs.setdefault("purge_step", step + 1)
