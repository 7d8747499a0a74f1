"""One optimiser with parameter groups, and its learning-rate schedule."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its schedule, counted in optimiser steps.

    Args:
        lr: peak learning rate.
        weight_decay: on weights with at least two dimensions only; never on norms, on the prior of z, on the position
            bias, whose amplitude has to be free to grow, or on what each of several rates has for itself.
        warmup_steps: linear rise from 0.
        schedule: `cosine` to `final_lr_factor` at the last step; `step`: times `step_factor` after each milestone.
        final_lr_factor: end of the cosine, as a factor of `lr`.
        step_milestones: fractions of the training, in (0, 1).
        step_factor: what the rate is multiplied by at each milestone.
    """

    lr: float = 1e-3
    weight_decay: float = 0.0
    warmup_steps: int = 200
    schedule: Literal["cosine", "step"] = "cosine"
    final_lr_factor: float = 0.01
    step_milestones: tuple[float, ...] = (0.8, 0.95)
    step_factor: float = 0.3

    def factor(self, step: int, total: int) -> float:
        """The learning rate of optimiser step `step` of `total`, as a factor of `lr`."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = min(1.0, step / max(1, total))
        if self.schedule == "cosine":
            start = min(1.0, self.warmup_steps / max(1, total))
            phase = (progress - start) / max(1e-9, 1.0 - start)
            return self.final_lr_factor + (1.0 - self.final_lr_factor) * 0.5 * (1.0 + math.cos(math.pi * phase))
        return self.step_factor ** sum(progress >= milestone for milestone in self.step_milestones)


def build_optimizer(module: nn.Module, config: OptimizerConfig, total_steps: int) -> tuple[torch.optim.AdamW, LambdaLR]:
    """AdamW over everything in `module` that requires a gradient, in two groups: with and without weight decay.

    Args:
        module: the network.
        config: settings.
        total_steps: optimiser steps of the whole training.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            exempt = parameter.ndim < 2 or any(f".{part}." in f".{name}" for part in ("prior", "bias", "rates"))
            (free if exempt else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    # Fused: one pass over the parameters, a quarter of the time on a CPU.
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, fused=True)
    # A fused optimiser offers to undo a gradient scaler's factor by itself, which would be after clipping: Lightning
    # then refuses to clip in mixed precision. Declined, the gradients are unscaled first and the norm is the true one.
    optimizer._step_supports_amp_scaling = False
    return optimizer, LambdaLR(optimizer, lambda step: config.factor(step, total_steps))
