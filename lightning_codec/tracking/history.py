"""`history.jsonl` in the run folder: what a run has logged, complete without any dashboard.

A line is one JSON object: {"step", "metrics"} with numbers, or {"step", "pictures", "tables"}. A picture is named by
its path relative to the run folder. Numbers that JSON does not know are the strings "NaN", "Infinity", "-Infinity".
"""

import json
import math
import os
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import lightning.pytorch as pl
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from lightning_codec.errors import UserError
from lightning_codec.files import write_atomically

HISTORY = "history.jsonl"

Cell = str | int | float | None


class Picture(NamedTuple):
    """A PNG file of the run."""

    path: str
    """Relative to the run folder, posix."""
    caption: str = ""


class Table(NamedTuple):
    """A table, and the two of its columns that are worth a plot."""

    columns: list[str]
    rows: list[list[Cell]]
    x: str
    y: str


class Entry(NamedTuple):
    """What was logged at once."""

    step: int
    """Optimiser step of the weights."""
    metrics: Mapping[str, float] = MappingProxyType({})
    pictures: Mapping[str, Picture] = MappingProxyType({})
    tables: Mapping[str, Table] = MappingProxyType({})

    @property
    def of_evaluation(self) -> bool:
        """Not logged by a training step."""
        return self.media > 0 or any(name.startswith("val/") for name in self.metrics)

    @property
    def media(self) -> int:
        """How many pictures and tables."""
        return len(self.pictures) + len(self.tables)


class HistoryLogger(Logger):
    """Writes `history.jsonl`; the first process alone does.

    Lines are appended as they come. They are never lost to an interruption, but for the one that is being written.

    Args:
        folder: the run's.
        earlier: what the run has logged before, see `continued_history`; an existing file is replaced by it.
    """

    def __init__(self, folder: Path, earlier: Iterable[Entry] = ()) -> None:
        super().__init__()
        self.folder = folder
        self._earlier: list[Entry] | None = list(earlier)

    @property
    def name(self) -> str | None:
        """None: the run folder has a name."""
        return None

    @property
    def version(self) -> int | str | None:
        """None, likewise."""
        return None

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: object, **kwargs: object) -> None:
        """Nothing: `config.yaml` holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append numbers."""
        self.log_entry(Entry(step or 0, dict(metrics)))

    @rank_zero_only
    def log_entry(self, entry: Entry) -> None:
        """Append one line."""
        if self._earlier is not None:
            self._write(self._earlier)
        with (self.folder / HISTORY).open("a", encoding="utf-8") as file:
            file.write(_line(entry))

    @rank_zero_only
    def rewind(self, step: int, evaluate: bool = False) -> list[Entry]:
        """Drop what lies after `step` optimiser steps: a training goes on from there. At 0 nothing is kept.

        Lightning counts training steps from 0: what the next one will log under `step` is dropped. What an evaluation
        of the weights has logged under it is kept, unless the training begins with this evaluation.

        Args:
            step: optimiser steps that are done.
            evaluate: the evaluation at this step will come again.

        Returns:
            What is kept.
        """
        entries = read_history(self.folder) if self._earlier is None else self._earlier
        kept = [e for e in entries if e.step < step or (e.step == step > 0 and e.of_evaluation and not evaluate)]
        self._write(kept)
        return kept

    def _write(self, entries: Iterable[Entry]) -> None:
        write_atomically(self.folder / HISTORY, "".join(map(_line, entries)).encode())
        self._earlier = None


class HistoryRewind(pl.Callback):
    """Takes the history back to the step from which a training starts, however it was told to resume.

    `metrics.csv`, which Lightning's CSV logger begins anew, is filled from it.
    """

    def __init__(self) -> None:
        self._done = False
        self._counted = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The Trainer has restored its counters, and the sanity check has logged nothing."""
        validates = trainer.fit_loop.epoch_loop.val_loop.restarted_mid_evaluation
        self._done, self._counted = True, False
        for logger in trainer.loggers:
            if isinstance(logger, HistoryLogger):
                _fill(trainer, logger.rewind(trainer.global_step, validates))

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Have the loggers count on from there: where epochs became longer, the Trainer would be one step behind."""
        if not self._counted:
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step
            self._counted = True

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A training that had come to its end before has not started again; its numbers stay."""
        for logger in trainer.loggers:
            if isinstance(logger, HistoryLogger) and not self._done and trainer.is_global_zero:
                _fill(trainer, continued_history(logger.folder, None))


def _fill(trainer: pl.Trainer, entries: Iterable[Entry] | None) -> None:
    """Hand numbers to the CSV loggers of the first process."""
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger) and trainer.is_global_zero:
            for entry in entries or ():
                if entry.metrics:
                    logger.log_metrics({**entry.metrics, **_counted(entry)}, entry.step)
            logger.save()


def _counted(entry: Entry) -> dict[str, float]:
    """The epoch as the integer that it was."""
    return {"epoch": int(entry.metrics["epoch"])} if "epoch" in entry.metrics else {}


def read_history(folder: Path) -> list[Entry]:
    """The entries of a run; a last line that an interruption has cut short is left out.

    Raises:
        UserError: there is no history, or another line is damaged.
    """
    path = folder / HISTORY
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the folder of a run of `lightning-codec fit`")
    lines = path.read_text(encoding="utf-8").split("\n")
    try:
        return [_entry(json.loads(line)) for line in lines[:-1]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged history of a run ({error})") from error


def continued_history(folder: Path, origin: Path | None) -> list[Entry]:
    """What a run in `folder` goes on from: its own history, else that of the run folder `origin`, else nothing.

    The pictures of another run folder stay where they are; their paths lead there.
    """
    for source in (folder, origin):
        if source is not None and (source / HISTORY).is_file():
            way = Path(os.path.relpath(source, folder))
            return [_moved(entry, way) for entry in read_history(source)]
    return []


def _moved(entry: Entry, way: Path) -> Entry:
    pictures = {
        tag: picture._replace(path=Path(os.path.normpath(way / picture.path)).as_posix())
        for tag, picture in entry.pictures.items()
    }
    return entry._replace(pictures=pictures)


def _line(entry: Entry) -> str:
    content: dict[str, object] = {"step": entry.step}
    if entry.metrics:
        content["metrics"] = {name: _plain(float(value)) for name, value in entry.metrics.items()}
    if entry.pictures:
        content["pictures"] = {tag: picture._asdict() for tag, picture in entry.pictures.items()}
    if entry.tables:
        content["tables"] = {
            tag: {**table._asdict(), "rows": [list(map(_plain, row)) for row in table.rows]}
            for tag, table in entry.tables.items()
        }
    return json.dumps(content, allow_nan=False) + "\n"


def _plain(value: Cell) -> Cell:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _entry(content: dict[str, Any]) -> Entry:
    return Entry(
        content["step"],
        {name: float(value) for name, value in content.get("metrics", {}).items()},
        {tag: Picture(**picture) for tag, picture in content.get("pictures", {}).items()},
        {tag: Table(**table) for tag, table in content.get("tables", {}).items()},
    )
