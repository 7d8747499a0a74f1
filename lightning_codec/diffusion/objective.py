"""The training objective of the diffusion decoder."""

import torch
from torch import Tensor

from lightning_codec.diffusion.denoiser import DenoiserConfig, Estimate
from lightning_codec.diffusion.parameterization import training_target
from lightning_codec.diffusion.schedule import BlurSchedule


def stratified_times(batch: int, t_max: float, offset: Tensor) -> Tensor:
    """t_i = t_max ((u + i / B) mod 1): every batch covers [0, t_max] evenly, each t_i is uniform in it.

    Args:
        batch: B.
        t_max: upper end, in (0, 1].
        offset: u, a scalar uniform in [0, 1).

    Returns:
        [B].
    """
    return t_max * ((offset + torch.arange(batch, device=offset.device) / batch) % 1.0)


def min_snr_weight(schedule: BlurSchedule, t: Tensor, cap: float) -> Tensor:
    """w(t) = min(a_t^2 / sigma_t^2, cap), shaped as t (Hang et al., ICCV 2023)."""
    return schedule.log_snr(t).exp().clamp(max=cap)


def diffusion_loss(
    config: DenoiserConfig, estimate: Estimate, x: Tensor, noise: Tensor, t: Tensor, cap: float
) -> Tensor:
    """L_diff of every image: mean squared error of what was predicted, min-SNR weighted where that is x itself.

    An error of x weighs w(t); for epsilon and v the parameterisation already is such a weight (SNR, 1 + SNR).

    Args:
        config: prediction and schedule.
        estimate: of the network.
        x: images [B, 3, H, W] in [-1, 1].
        noise: what they were diffused with.
        t: times [B].
        cap: of the weight.

    Returns:
        [B].
    """
    target = training_target(config.prediction, x, noise, t, config.schedule)
    error = (estimate.output - target).square().mean(dim=(1, 2, 3))
    return min_snr_weight(config.schedule, t, cap) * error if config.prediction == "x" else error
