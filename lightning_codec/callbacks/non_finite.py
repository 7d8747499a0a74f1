"""A training step that went wrong is not taken; a training that only goes wrong is ended."""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from lightning_codec.errors import UserError


class NonFiniteGuard(pl.Callback):
    """Skips an optimiser step whose loss or gradient is not finite; stops after `max_in_a_row` of them.

    For automatic optimisation with one optimiser. The check comes after the backward pass (after unscaling,
    and after the reduction over processes) and before gradient clipping, where one NaN would spread to every
    gradient. A step is skipped by dropping all gradients: an optimiser leaves a parameter without one
    untouched, weights, weight decay and moments alike. With gradient accumulation one bad batch costs the
    whole accumulated step. All processes decide alike.

    A skipped step still counts for `max_steps` and moves the learning-rate schedule on. Buffers that a
    forward pass updates, such as running statistics, are not protected.

    The total is logged as `train/skipped_steps` and kept in checkpoints.

    Args:
        max_in_a_row: the training stops with a `UserError` when so many steps in a row were skipped; at least
            1.
    """

    def __init__(self, max_in_a_row: int = 10) -> None:
        if max_in_a_row < 1:
            raise UserError(f"NonFiniteGuard: max_in_a_row must be 1 or more, not {max_in_a_row}")
        self.max_in_a_row = max_in_a_row
        self.skipped_steps = 0
        self.in_a_row = 0
        self._losses: list[Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the two counters, as plain integers."""
        return {"skipped_steps": self.skipped_steps, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting where a checkpoint stood."""
        self.skipped_steps, self.in_a_row = state_dict["skipped_steps"], state_dict["in_a_row"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the losses of a training that was interrupted within a step."""
        self._losses.clear()

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Keep the loss of every batch of a step; looked at later, so that a GPU need not wait here."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Drop the gradients of a bad step.

        Raises:
            UserError: this was the last of `max_in_a_row` bad steps.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        # a sum is finite only if every term is, and is ten times cheaper than a test of each element
        checks = [p.grad.sum() for p in parameters] + self._losses
        good = bool(torch.stack([check.isfinite() for check in checks]).all())
        # gradients are the same on all processes, losses are not
        good = trainer.strategy.reduce_boolean_decision(good, all=True)
        if good:
            self.in_a_row = 0
        else:
            self.in_a_row += 1
            self.skipped_steps += 1
            cause = self._cause(pl_module)
            for parameter in parameters:
                parameter.grad = None
            if self.in_a_row >= self.max_in_a_row:
                raise UserError(
                    f"training stopped: {self.in_a_row} steps in a row without finite loss and gradients, "
                    f"last at step {trainer.global_step} ({cause}); "
                    "go on from an earlier checkpoint with a lower learning rate"
                )
            rank_zero_warn(f"step {trainer.global_step} skipped: {cause} ({self.in_a_row} in a row)")
        self._losses.clear()
        pl_module.log("train/skipped_steps", float(self.skipped_steps))

    def _cause(self, pl_module: pl.LightningModule) -> str:
        bad = [loss.item() for loss in self._losses if not loss.isfinite()]
        if bad:
            return f"the loss is {bad[0]}"
        for name, parameter in pl_module.named_parameters():
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                return f"the gradient of {name} is not finite"
        return "on another process"
