"""What the configuration says of the optimiser holds, also where its state comes from a checkpoint."""

from typing import Any

import lightning.pytorch as pl
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR


class ConfiguredOptimizer(pl.Callback):
    """Gives the optimiser its configured settings back after a checkpoint has been restored.

    The state dictionary of an optimiser holds moments and step counts, which a training goes on with, but also rates
    and weight decay, that of a schedule its base rates: restored, they would beat the configuration. Where nothing is
    changed this changes nothing, to the last bit.
    """

    def __init__(self) -> None:
        self._groups: list[list[dict[str, Any]]] = []
        self._base_rates: list[list[float | Tensor]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the optimiser as the configuration made it; the checkpoint is restored after this."""
        self._groups = [
            [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
            for optimizer in trainer.optimizers
        ]
        self._base_rates = [
            list(config.scheduler.base_lrs) if isinstance(config.scheduler, LambdaLR) else []
            for config in trainer.lr_scheduler_configs
        ]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the settings back, and the rate where the schedule now stands."""
        for optimizer, groups in zip(trainer.optimizers, self._groups, strict=True):
            for group, settings in zip(optimizer.param_groups, groups, strict=True):
                group.update(settings)
        for config, rates in zip(trainer.lr_scheduler_configs, self._base_rates, strict=True):
            schedule = config.scheduler
            if not isinstance(schedule, LambdaLR):
                continue
            schedule.base_lrs = rates
            for group, rate, factor in zip(schedule.optimizer.param_groups, rates, schedule.lr_lambdas, strict=True):
                group["lr"] = rate * factor(schedule.last_epoch)
            schedule._last_lr = [group["lr"] for group in schedule.optimizer.param_groups]
