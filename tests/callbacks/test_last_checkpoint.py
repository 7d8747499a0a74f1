"""From `last.ckpt` a training goes on with the very batches, validations and numbers that were to come."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers.logger import Logger
from PIL import Image
from torch import Tensor, nn

from lightning_codec.callbacks import LastCheckpoint
from lightning_codec.callbacks.configured_optimizer import ConfiguredOptimizer
from lightning_codec.data import CompressionDataModule
from lightning_codec.errors import UserError
from lightning_codec.runs.checkpoint_io import AtomicCheckpointIO
from lightning_codec.runs.signals import Stopped

LAST = Path("checkpoints/last.ckpt")
HOOKS = ("train_batch_start", "train_batch_end", "validation_start", "validation_end", "train_epoch_start",
         "train_epoch_end")  # fmt: skip


class Recorder(pl.LightningModule):
    """Trains one number on the mean of every picture, and remembers what it was shown."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.lr = lr
        self.trained: list[tuple[int, int, float]] = []
        self.validated: list[tuple[int, str]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.trained.append((self.current_epoch, batch_idx, batch.double().sum().item()))
        loss: Tensor = (self.weight - batch.mean()).square()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.validated.append((self.global_step, batch.name))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Rows(Logger):
    """Keeps the steps and losses that were logged."""

    name = version = None

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, float]] = []

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((step, metrics["train/loss"]))


class Killed(BaseException):
    pass


class KillAt(pl.Callback):
    """Ends the training at the `number`-th call of a hook."""

    def __init__(self, hook: str, number: int) -> None:
        self.left = number
        setattr(self, f"on_{hook}", self._count)

    def _count(self, *_: Any, **__: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


class SignalAt(pl.Callback):
    """Sends this process a signal within the training step that follows `step` others."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_before_backward(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder `photos` with three pictures of 20 x 20."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(noise).save(f"photos/{index}.png")


class Training:
    """One call of `fit`, until it ends or is killed."""

    def __init__(
        self,
        settings: dict[str, Any],
        callbacks: Sequence[pl.Callback] = (),
        resume: bool = False,
        lr: float = 0.1,
        last: LastCheckpoint | None = None,
    ) -> None:
        settings = dict(settings)
        samples = settings.pop("samples")
        self.module, self.logger = Recorder(lr), Rows()
        trainer = pl.Trainer(
            **settings,
            accelerator="cpu",
            logger=[self.logger],
            log_every_n_steps=1,
            callbacks=[*callbacks, ConfiguredOptimizer(), last or LastCheckpoint(every_n_minutes=0)],
            plugins=[AtomicCheckpointIO()],
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        data = CompressionDataModule(
            ["photos"], ["photos"], crop_size=8, batch_size=1, samples_per_epoch=samples, num_workers=0
        )
        self.stopped: BaseException | None = None
        try:
            trainer.fit(self.module, datamodule=data, ckpt_path=LAST if resume else None)
        except (Killed, Stopped) as stop:
            self.stopped = stop


VALIDATIONS = {
    "each epoch": {},
    "each half epoch": {"val_check_interval": 0.5},
    "never": {"limit_val_batches": 0},
    "across epochs": {"val_check_interval": 3, "check_val_every_n_epoch": None},
}


@pytest.mark.parametrize("validation", VALIDATIONS.values(), ids=VALIDATIONS)
@pytest.mark.parametrize(("accumulation", "end"), [(1, {"max_steps": 7, "max_epochs": -1}), (2, {"max_epochs": 3})])
def test_killed_anywhere_a_training_goes_on_where_it_was(
    validation: dict[str, Any], accumulation: int, end: dict[str, int]
) -> None:
    settings = {"samples": 4, "accumulate_grad_batches": accumulation, **validation, **end}
    whole = Training(settings)
    for hook in HOOKS:
        LAST.unlink(missing_ok=True)
        killed = Training(settings, [KillAt(hook, 3)])
        if killed.stopped is None or not LAST.exists():
            continue
        resumed = Training(settings, resume=True)
        assert torch.equal(resumed.module.weight, whole.module.weight), hook
        for parts in ("trained", "validated"):
            first, second, all_of_them = (getattr(run.module, parts) for run in (killed, resumed, whole))
            done = len(all_of_them) - len(second)
            assert all_of_them[done:] == second, (hook, parts)
            assert first[:done] == all_of_them[:done], (hook, parts)
        rows = resumed.logger.rows
        assert rows == whole.logger.rows[len(whole.logger.rows) - len(rows) :], hook
        # the row of the last step that counts is written before the checkpoint is
        assert len(killed.logger.rows) + len(rows) >= len(whole.logger.rows), hook


@pytest.mark.parametrize("again", [("train_batch_start", 3), ("train_batch_end", 1), ("validation_start", 2)])
def test_killed_once_more_after_a_validation_that_came_again(again: tuple[str, int]) -> None:
    """Neither is the next validation cut short, nor is a later start taken for one within a validation."""
    settings = {"samples": 4, "max_steps": 11, "max_epochs": -1}
    whole = Training(settings).module
    LAST.unlink()
    Training(settings, [KillAt("validation_end", 1)])
    killed = Training(settings, [KillAt(*again)], resume=True).module
    assert killed.validated[:3] == whole.validated[:3]
    resumed = Training(settings, resume=True).module
    assert resumed.validated == whole.validated[3:]
    assert resumed.trained == whole.trained[len(whole.trained) - len(resumed.trained) :]
    assert torch.equal(resumed.weight, whole.weight)


@pytest.mark.parametrize("step", [1, 3])
def test_a_signal_lets_the_step_end_and_stops_before_the_next_or_before_the_validation(step: int) -> None:
    settings = {"samples": 4, "max_steps": 7, "max_epochs": -1}
    whole = Training(settings)
    stopped = Training(settings, [SignalAt(step)], last=LastCheckpoint())
    assert str(stopped.stopped) == f"stopped at step {step + 1} by SIGTERM"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert torch.load(LAST, weights_only=True)["global_step"] == step + 1
    resumed = Training(settings, resume=True)
    assert stopped.module.trained + resumed.module.trained == whole.module.trained
    assert stopped.module.validated + resumed.module.validated == whole.module.validated
    assert stopped.logger.rows + resumed.logger.rows == whole.logger.rows
    assert torch.equal(resumed.module.weight, whole.module.weight)


class Writes(pl.Callback):
    """Notes the steps at which checkpoints are written."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_save_checkpoint(self, trainer: pl.Trainer, *_: Any) -> None:
        self.steps.append(trainer.global_step)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (LastCheckpoint(), [10, 10, 11]),  # around the validation, and at the end
        (LastCheckpoint(every_n_steps=3), [3, 6, 9, 10, 10, 11]),
        (LastCheckpoint(every_n_minutes=0), [*range(1, 10), 10, 10, 11]),
    ],
    ids=["seldom", "steps", "time"],
)
def test_it_is_written_as_often_as_told_and_over_the_one_before(last: LastCheckpoint, expected: list[int]) -> None:
    writes = Writes()
    Training({"samples": 10, "max_steps": 11, "max_epochs": -1}, [writes], last=last)
    assert writes.steps == expected
    assert [path.name for path in LAST.parent.iterdir()] == ["last.ckpt"]


def test_the_configuration_of_the_optimiser_beats_the_checkpoint() -> None:
    settings = {"samples": 8, "max_epochs": -1}
    Training({**settings, "max_steps": 3})
    before = torch.load(LAST, weights_only=True)
    Training({**settings, "max_steps": 4}, resume=True, lr=1e-4)
    after = torch.load(LAST, weights_only=True)
    (group,), (schedule,) = after["optimizer_states"][0]["param_groups"], after["lr_schedulers"]
    assert group["initial_lr"] == 1e-4
    assert schedule["base_lrs"] == [1e-4]
    assert group["lr"] == 1e-4 * (1 / 5)
    assert schedule["_last_lr"] == [group["lr"]]
    # the step itself went at the rate of step 3, and on with the moments of the checkpoint
    momentum = after["optimizer_states"][0]["state"][0]["momentum_buffer"]
    assert before["optimizer_states"][0]["state"][0]["momentum_buffer"].abs() > 0
    moved = before["state_dict"]["weight"] - after["state_dict"]["weight"]
    assert moved.item() == pytest.approx(1e-4 / 4 * momentum.item(), rel=1e-3)


@pytest.mark.parametrize("settings", [{"every_n_minutes": -1}, {"every_n_steps": 0}])
def test_senseless_intervals_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"last\.{next(iter(settings))} is"):
        LastCheckpoint(**settings)
