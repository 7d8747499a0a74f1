"""`predict` as a batch encoder: one `.lcb` file for each image, and a table of them."""

import time
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info

from lightning_codec.callbacks.gathering import gather
from lightning_codec.data.types import NamedImage
from lightning_codec.errors import UserError
from lightning_codec.files import write_atomically, write_csv


class PredictedFile(NamedTuple):
    """One line of `predictions.csv`."""

    name: str
    """Path of the image in its set, posix."""
    bytes: int | None
    """Size of the `.lcb` file on disk; None when there is none."""
    bpp: float | None
    """8 x bytes / (original height x width)."""
    seconds: float
    """Wall time of coding the image."""
    error: str
    """Why the file is missing or is not the one that was coded now; else empty."""


class LcbWriter(pl.Callback):
    """Writes the bytes that `predict_step` returns for each `NamedImage`, and `predictions.csv` at the end.

    The file of an image is its path in the set, below the output folder, with `.lcb` in place of its extension; it
    is either complete or not there.

    Args:
        output_dir: the folder, made if needed; default: `predictions` in the run's folder.
        overwrite: replace existing files. By default they are kept, so that an interrupted run can be repeated;
            one that differs from what was coded now (another model, another image) is named in the table.
    """

    def __init__(self, output_dir: str | None = None, overwrite: bool = False) -> None:
        self.output_dir = output_dir
        self.overwrite = overwrite
        self._files: list[PredictedFile] = []
        self._folder = Path()
        self._start = 0.0

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make the folder, before the first image is coded. Raises UserError when that is impossible."""
        self._files = []
        # log_dir is a broadcast: once, and on every process
        self._folder = Path(self.output_dir or Path(trainer.log_dir or trainer.default_root_dir) / "predictions")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self._folder}: the folder for .lcb files cannot be made ({error.strerror})") from error

    def on_predict_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: NamedImage,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: bytes,
        batch: NamedImage,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write one file."""
        seconds = time.perf_counter() - self._start
        path = self._folder / _target(batch.name)
        error = ""
        try:
            if self.overwrite or not path.exists():
                write_atomically(path, outputs)
            elif path.read_bytes() != outputs:
                error = "kept an existing file with other content; overwrite: true replaces it"
        except OSError as reason:  # one path that cannot be written does not cost the other images
            error = str(reason)
        size = path.stat().st_size if path.is_file() else None
        height, width = batch.image.shape[-2:]
        bpp = None if size is None else 8 * size / (height * width)
        self._files.append(PredictedFile(batch.name, size, bpp, seconds, error))

    def on_predict_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the table.

        Raises:
            UserError: a file could not be written, or is not the one that was coded.
        """
        files = sorted(gather(self._files), key=lambda file: file.name)
        writers = Counter(_target(file.name) for file in files)
        files = [
            file._replace(error="several images of this name, one file") if writers[_target(file.name)] > 1 else file
            for file in files
        ]
        table = self._folder / "predictions.csv"
        if trainer.is_global_zero:
            write_csv(table, PredictedFile._fields, files)
        wrong = [file for file in files if file.error]
        if wrong:
            raise UserError(
                f"{len(wrong)} of {len(files)} .lcb files are not as they should be (see {table}), "
                f"the first is {wrong[0].name}: {wrong[0].error}"
            )
        rank_zero_info(f"{len(files)} files in {self._folder}")


def _target(name: str) -> str:
    """Path of an image's file below the output folder, as `lightning-codec compress` names it."""
    return PurePosixPath(name).with_suffix(".lcb").as_posix()
