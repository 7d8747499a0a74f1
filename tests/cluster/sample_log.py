"""Which samples a training has taken, and a place at which it can be interrupted."""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

SECONDS_TO_WAIT = 600.0


class SampleLog(pl.Callback):
    """Appends a line for every sample of every finished step to `<folder>/samples-rank<rank>.txt`.

    Args:
        folder: of the logs.
        pauses: after each of these optimiser steps every process waits once, until the file `<folder>/go-on-<step>` is
            there; that it waits is said by the file `<folder>/rank<rank>-waits-<step>`.
    """

    def __init__(self, folder: str, pauses: tuple[int, ...] = ()) -> None:
        self.folder = Path(folder)
        self.pauses = pauses

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Note the samples; wait where that is asked for."""
        rank, step = trainer.global_rank, trainer.global_step
        with (self.folder / f"samples-rank{rank}.txt").open("a") as log:
            for image in batch:
                digest = hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()
                log.write(f"{trainer.current_epoch} {batch_idx} {step} {digest}\n")
        waits, go_on = self.folder / f"rank{rank}-waits-{step}", self.folder / f"go-on-{step}"
        if step in self.pauses and not waits.exists():
            waits.touch()
            end = time.monotonic() + SECONDS_TO_WAIT
            while not go_on.exists() and time.monotonic() < end:
                time.sleep(0.1)
