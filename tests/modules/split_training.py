"""Trainings of tiny modules whose steps are split in several ways, and what they came to."""

from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_codec.data import CompressionDataModule

LIMIT = 0.05  # of the gradient's norm, far below what it is
GLOBAL_BATCH = 8
STEPS = 4
ADAM_EPS = 1e-5
"""A twentieth of the gradients' root mean square here. Half of them are below 1e-7: with Adam's 1e-8 such a weight
moves as far as any other, in a direction that the rounding of its gradient's sum decides."""


class Report(NamedTuple):
    """Of the first process."""

    weights: dict[str, Tensor]
    losses: list[float]
    """as logged, one for each optimiser step, averaged over its batches"""
    rates: list[float]
    """learning rate of each optimiser step"""
    norms: list[tuple[float, float]]
    """of the gradient before and after clipping, of each optimiser step"""
    steps: int


def norm(module: pl.LightningModule) -> float:
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    return float(torch.stack([g.norm() for g in gradients]).norm())


class Recorder(pl.Callback):
    """Writes the `Report` of a training to `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.batches: list[float] = []
        self.rates: list[float] = []
        self.before: list[float] = []
        self.after: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        optimizer = trainer.optimizers[0]
        for group in optimizer.param_groups:
            group["eps"] = ADAM_EPS

        def stepped(*_: object) -> None:  # a hook before the step would come before the closure that makes gradients
            self.after.append(norm(module))
            self.rates.append(optimizer.param_groups[0]["lr"])

        optimizer.register_step_post_hook(stepped)

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: object) -> None:
        self.before.append(norm(module))

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        self.batches.append(float(trainer.callback_metrics["train/loss"]))

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        per_step = torch.tensor(self.batches).reshape(-1, trainer.accumulate_grad_batches).mean(1).tolist()
        norms = list(zip(self.before, self.after, strict=True))
        report = Report(module.state_dict(), per_step, self.rates, norms, trainer.global_step)
        if trainer.is_global_zero:
            torch.save(report._asdict(), self.path)


def split_training(
    module: pl.LightningModule,
    folder: Path,
    processes: int = 1,
    accumulation: int = 1,
    checkpoint: Path | None = None,
    **options: Any,
) -> Report:
    """Train on global batches of 8 crops; an epoch wants 12 of them, and takes 16.

    A checkpoint of every step is written to `folder`.
    """
    torch.manual_seed(processes + 7 * accumulation + (0 if checkpoint is None else 100))  # no step looks at this
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"report-{processes}-{accumulation}.pt"
    trainer = pl.Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        devices=processes,
        strategy="ddp_fork" if processes > 1 else "auto",
        accumulate_grad_batches=accumulation,
        gradient_clip_val=LIMIT,
        limit_val_batches=0,
        logger=False,
        callbacks=[
            Recorder(path),
            ModelCheckpoint(folder / "states", filename="{step}", every_n_train_steps=1, save_top_k=-1),
        ],
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )
    batch_size = GLOBAL_BATCH // processes // accumulation
    data = CompressionDataModule(crop_size=64, batch_size=batch_size, samples_per_epoch=12, num_workers=0)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    return Report(**torch.load(path, weights_only=True))
