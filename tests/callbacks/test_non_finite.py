from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor

from lightning_codec.callbacks import NonFiniteGuard
from lightning_codec.errors import UserError

from .stubs import StubData, StubModule, make_trainer

GOOD = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
BAD = torch.full((1, 3, 4, 4), torch.nan)


class Recorder(pl.Callback):
    """Copies the weights after every batch."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_train_batch_end(trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.weights.append(torch.cat([p.detach().flatten().clone() for p in pl_module.parameters()]))

    @property
    def moved(self) -> list[bool]:
        return [not torch.equal(a, b) for a, b in zip(self.weights, self.weights[1:], strict=False)]


def fit(
    folder: Path,
    batches: list[Tensor],
    guard: NonFiniteGuard,
    module: StubModule | None = None,
    **settings: Any,
) -> tuple[Recorder, pl.Trainer]:
    recorder = Recorder()
    trainer = make_trainer(folder, [guard, recorder], limit_val_batches=0, **settings)
    trainer.fit(module or StubModule(), datamodule=StubData({}, train=batches))
    assert all(weights.isfinite().all() for weights in recorder.weights)
    return recorder, trainer


@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_bad_step_leaves_the_weights_and_the_next_one_trains(tmp_path, clip):
    """Weight decay must not move them either."""
    guard = NonFiniteGuard()
    with pytest.warns(UserWarning, match="step 1 skipped: the loss is nan"):
        recorder, trainer = fit(tmp_path, [GOOD, BAD, GOOD], guard, gradient_clip_val=clip)
    assert recorder.moved == [True, False, True]
    assert (guard.skipped_steps, guard.in_a_row) == (1, 0)
    assert trainer.callback_metrics["train/skipped_steps"] == 1
    assert trainer.global_step == 3


def test_the_good_steps_are_those_of_a_training_without_the_bad_one(tmp_path):
    torch.manual_seed(0)
    modules = [StubModule(), StubModule()]
    modules[1].load_state_dict(modules[0].state_dict())
    with_bad, _ = fit(tmp_path, [GOOD, BAD, GOOD], NonFiniteGuard(), modules[0])
    without, _ = fit(tmp_path, [GOOD, GOOD], NonFiniteGuard(), modules[1])
    assert torch.equal(with_bad.weights[-1], without.weights[-1])


@pytest.mark.parametrize("position", [2, 3])
def test_a_bad_batch_costs_the_whole_accumulated_step(tmp_path, position):
    batches = [GOOD] * 6
    batches[position] = BAD
    recorder, _ = fit(tmp_path, batches, NonFiniteGuard(), accumulate_grad_batches=2, gradient_clip_val=1.0)
    assert recorder.moved == [False, True, False, False, False, True]


class InfiniteGradient(StubModule):
    """A square root at 0: a finite loss, a gradient that is not."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = (self.net(batch) * 0).sum().sqrt()
        return loss


def test_a_gradient_that_is_not_finite_is_enough(tmp_path):
    with pytest.warns(UserWarning, match=r"step 0 skipped: the gradient of net\.weight is not finite"):
        fit(tmp_path, [GOOD], NonFiniteGuard(), InfiniteGradient())


class InfiniteLoss(StubModule):
    """A loss that is infinite without touching the gradient."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.net(batch).sum() + torch.inf
        return loss


def test_a_loss_that_is_not_finite_is_enough(tmp_path):
    with pytest.warns(UserWarning, match="the loss is inf"):
        recorder, _ = fit(tmp_path, [GOOD], NonFiniteGuard(), InfiniteLoss())
    assert recorder.moved == [False]


def test_only_so_many_in_a_row_stop_the_training(tmp_path):
    batches = [BAD, BAD, GOOD, BAD, BAD, BAD, GOOD]
    with pytest.raises(UserError, match=r"3 steps in a row .* last at step 5 \(the loss is nan\)"):
        fit(tmp_path, batches, NonFiniteGuard(max_in_a_row=3))
    guard = NonFiniteGuard(max_in_a_row=4)
    fit(tmp_path, batches, guard)
    assert guard.skipped_steps == 5


def test_the_counts_survive_a_checkpoint(tmp_path):
    _, trainer = fit(tmp_path, [GOOD, BAD], NonFiniteGuard())
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    guard = NonFiniteGuard()
    resumed = make_trainer(tmp_path, [guard], limit_val_batches=0, max_epochs=2)
    data = StubData({}, train=[BAD, GOOD])
    resumed.fit(StubModule(), datamodule=data, ckpt_path=tmp_path / "end.ckpt", weights_only=True)
    assert guard.state_dict() == {"skipped_steps": 2, "in_a_row": 0}


def test_a_limit_below_one_is_refused():
    with pytest.raises(UserError, match="max_in_a_row must be 1 or more"):
        NonFiniteGuard(0)
