"""Progress as loss, bpp, PSNR and images; plain lines where there is no terminal."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from torch import Tensor


class CodecProgressBar(TQDMProgressBar):
    """A progress bar with loss, bpp and PSNR while training, and with the number of images otherwise.

    Reads the logged `train/loss`, `train/bpp`, `train/psnr`, and `train/skipped_steps` once there are any.
    When the standard output is not a terminal (a file, a pipe, a batch job), no bar is drawn: one plain line
    is written every `line_seconds` and at the end of every training epoch and evaluation.

    Args:
        refresh_rate: batches between two updates of the bar; 0 shows nothing at all.
        line_seconds: seconds between two plain lines.
    """

    def __init__(self, refresh_rate: int = 5, line_seconds: float = 30.0) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self.line_seconds = line_seconds
        self._plain = False
        self._last_line = 0.0
        self._predict_start = 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Choose between the bar and plain lines."""
        super().setup(trainer, pl_module, stage)
        if self.is_enabled and not sys.stdout.isatty():
            self._plain = trainer.is_global_zero
            self.disable()
        self._last_line = time.monotonic()

    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return what stands behind the bar."""
        return dict(_shown(trainer.callback_metrics))

    def init_validation_tqdm(self) -> Tqdm:
        """Count images, not iterations."""
        return _of_images(super().init_validation_tqdm())

    def init_test_tqdm(self) -> Tqdm:
        """Count images, not iterations."""
        return _of_images(super().init_test_tqdm())

    def init_predict_tqdm(self) -> Tqdm:
        """Count images, not iterations."""
        return _of_images(super().init_predict_tqdm())

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Show the step."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._due():
            self._line(self._train_line(trainer))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the epoch."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._plain:
            self._line(f"{self._train_line(trainer)}, end of the epoch")

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the image."""
        super().on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        if not trainer.sanity_checking:
            self._images("validation", batch_idx, self.total_val_batches_current_dataloader)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the image."""
        super().on_test_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        self._images("test", batch_idx, self.total_test_batches_current_dataloader)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        super().on_predict_start(trainer, pl_module)
        self._predict_start = time.monotonic()

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the image."""
        super().on_predict_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        total = self.total_predict_batches_current_dataloader
        self._images("predict", batch_idx, total, self._speed(trainer, batch_idx + 1))

    def _images(self, what: str, batch_idx: int, total: int | float, more: str = "") -> None:
        done = batch_idx + 1
        if self._due() or (self._plain and done == total):
            self._line(f"{what}: image {done} of {total}{more}")

    def _speed(self, trainer: pl.Trainer, done: int) -> str:
        """Images a second, of this process; the others have as many images to do."""
        speed = f", {done / max(time.monotonic() - self._predict_start, 1e-9):.2f} images/s"
        return speed if trainer.world_size == 1 else f"{speed} on each of {trainer.world_size} processes"

    def _due(self) -> bool:
        return self._plain and time.monotonic() - self._last_line >= self.line_seconds

    def _train_line(self, trainer: pl.Trainer) -> str:
        step = f"{trainer.global_step}/{trainer.max_steps}" if trainer.max_steps > 0 else f"{trainer.global_step}"
        values = " ".join(f"{name} {value}" for name, value in _shown(trainer.callback_metrics).items())
        return f"epoch {trainer.current_epoch} step {step} {values}".rstrip()

    def _line(self, text: str) -> None:
        print(text, flush=True)
        self._last_line = time.monotonic()


def _shown(metrics: Mapping[str, Tensor]) -> dict[str, str]:
    """Pick and format the logged training metrics; one that is not logged is not shown."""
    formats = {"train/loss": ("loss", ".4g"), "train/bpp": ("bpp", ".3f"), "train/psnr": ("PSNR", ".2f")}
    shown = {label: format(float(metrics[key]), spec) for key, (label, spec) in formats.items() if key in metrics}
    skipped = int(metrics.get("train/skipped_steps", 0))
    return {**shown, "skipped": str(skipped)} if skipped else shown


def _of_images(bar: Tqdm) -> Tqdm:
    bar.unit = "img"
    return bar
