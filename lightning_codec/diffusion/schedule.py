"""Noise and blur over time: the schedules of the blur-dissipated diffusion."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_codec.diffusion.dct import Frequencies
from lightning_codec.errors import UserError


@dataclass(frozen=True)
class BlurSchedule:
    """z_t = IDCT(alpha_t * DCT(x)) + sigma_t * noise with alpha_t(lambda) = a_t d_t(lambda), t in [0, 1].

        theta(t) = b t + c,  a_t = cos theta,  sigma_t = sin theta     log-SNR = -2 ln tan theta, finite at both ends
        sigma_B(t) = sigma_blur_max sin^2(pi t / 2)                    standard deviation of the blur, in pixels
        d_t(lambda) = d_min + (1 - d_min) exp(-lambda sigma_B^2 / 2)

    Sources: paper; Hoogeboom and Salimans, "Blurring Diffusion Models", ICLR 2023. With `sigma_blur_max` 0 it is
    ordinary variance-preserving diffusion, the same for all frequencies.

    Args:
        log_snr_max: at t = 0.
        log_snr_min: at t = 1. -15 rather than the family's -10: the mean brightness of a large picture would still be
            readable from z_1 there, so a model trained on crops goes astray on whole pictures.
        dissipation_min: d_min, in (0, 1]; keeps alpha positive.
        sigma_blur_max: in pixels; 20 in the paper's family, smaller ones keep the blur within a training crop.
    """

    log_snr_max: float = 10.0
    log_snr_min: float = -15.0
    dissipation_min: float = 1e-3
    sigma_blur_max: float = 4.0

    def __post_init__(self) -> None:
        if not self.log_snr_min < self.log_snr_max:
            raise UserError(f"schedule: log_snr_min {self.log_snr_min} must be below log_snr_max {self.log_snr_max}")
        if not 0.0 < self.dissipation_min <= 1.0:
            raise UserError(f"schedule: dissipation_min is {self.dissipation_min}: it must lie in (0, 1]")
        if self.sigma_blur_max < 0.0:
            raise UserError(f"schedule: sigma_blur_max is {self.sigma_blur_max}: it must be 0 or more")

    @property
    def isotropic(self) -> bool:
        """Whether nothing is blurred, so that alpha_t is one number and no transform is needed."""
        return self.sigma_blur_max == 0.0

    def _theta(self, t: Tensor) -> Tensor:
        start = math.atan(math.exp(-0.5 * self.log_snr_max))
        end = math.atan(math.exp(-0.5 * self.log_snr_min))
        return (end - start) * t + start

    def a(self, t: Tensor) -> Tensor:
        """a_t of times of any shape; a^2 + sigma^2 = 1."""
        return torch.cos(self._theta(t))

    def sigma(self, t: Tensor) -> Tensor:
        """sigma_t of times of any shape, at least sigma_0 > 0."""
        return torch.sin(self._theta(t))

    def log_snr(self, t: Tensor) -> Tensor:
        """ln(a^2 / sigma^2), from log_snr_max at t = 0 to log_snr_min at t = 1."""
        return -2.0 * torch.log(torch.tan(self._theta(t)))

    def sigma_blur(self, t: Tensor) -> Tensor:
        """sigma_B(t), in pixels."""
        return self.sigma_blur_max * torch.sin(0.5 * math.pi * t).square()

    def dissipation(self, t: Tensor, lam: Frequencies) -> Tensor:
        """d_t(lambda) in [d_min, 1].

        Args:
            t: a scalar, or [B, 1, 1, 1].
            lam: frequencies of an H x W image.

        Returns:
            [H, W], or [B, 1, H, W].
        """
        tau = 0.5 * self.sigma_blur(t).square()
        blur = torch.exp(-lam.rows * tau) * torch.exp(-lam.columns * tau)
        return self.dissipation_min + (1.0 - self.dissipation_min) * blur

    def alpha(self, t: Tensor, lam: Frequencies) -> Tensor:
        """alpha_t(lambda) = a_t d_t(lambda), shaped as `dissipation`; a_t alone (shape of t) if nothing is blurred."""
        return self.a(t) if self.isotropic else self.a(t) * self.dissipation(t, lam)
