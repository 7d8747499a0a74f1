"""The forward process q(z_t | x) and the reverse transitions that belong to it."""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_codec.diffusion.dct import Frequencies, dct2, frequencies, idct2
from lightning_codec.diffusion.schedule import BlurSchedule


def expand(t: Tensor) -> Tensor:
    """[B] -> [B, 1, 1, 1], to be multiplied with images."""
    return t[:, None, None, None]


def frequencies_of(image: Tensor) -> Frequencies:
    """The frequencies of an image's DCT coefficients, in its type and on its device."""
    return frequencies(image.shape[-2], image.shape[-1], image)


def dissipate(schedule: BlurSchedule, x: Tensor, t: Tensor) -> Tensor:
    """The mean of q(z_t | x), IDCT(alpha_t * DCT(x)).

    Args:
        schedule: noise and blur.
        x: images [B, 3, H, W] in [-1, 1].
        t: times [B] in [0, 1].
    """
    if schedule.isotropic:
        return schedule.a(expand(t)) * x
    return idct2(schedule.alpha(expand(t), frequencies_of(x)) * dct2(x))


def diffuse(schedule: BlurSchedule, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """z_t = IDCT(alpha_t * DCT(x)) + sigma_t * noise, a draw of q(z_t | x) (paper, eq. of the forward process).

    Args:
        schedule: noise and blur.
        x: images [B, 3, H, W] in [-1, 1].
        t: times [B] in [0, 1].
        noise: white noise shaped as x; it stays white under the orthonormal transform.
    """
    return dissipate(schedule, x, t) + schedule.sigma(expand(t)) * noise


class Transition(NamedTuple):
    """u_s = k u_t + gain * u_hat + rho * xi, coefficient by coefficient of the DCT, xi white noise."""

    k: Tensor
    gain: Tensor
    rho: Tensor


def transition(schedule: BlurSchedule, t: Tensor, s: Tensor, lam: Frequencies, eta: float) -> Transition:
    """One reverse step from t to s < t, for an estimate u_hat of DCT(x).

        rho^2 = eta^2 sigma_s^2 sigma_{t|s}^2 / sigma_t^2
        k = sqrt(sigma_s^2 - rho^2) / sigma_t,  gain = alpha_s - k alpha_t

    with alpha_{t|s} = alpha_t / alpha_s and sigma_{t|s}^2 = sigma_t^2 - alpha_{t|s}^2 sigma_s^2. Every eta in [0, 1]
    turns q(z_t | x) into q(z_s | x); 1 is the posterior q(z_s | z_t, x) (ancestral sampling), 0 is deterministic.

    Args:
        schedule: noise and blur.
        t: time of the state, a scalar.
        s: time of the next one, a scalar.
        lam: frequencies, in the type to compute in.
        eta: share of fresh noise.
    """
    sigma_t, sigma_s = schedule.sigma(t), schedule.sigma(s)
    alpha_t, alpha_s = schedule.alpha(t, lam), schedule.alpha(s, lam)
    k, rho = sigma_s / sigma_t, torch.zeros_like(sigma_s)
    if eta > 0.0:
        # With r = alpha_{t|s} sigma_s / sigma_t, so sigma_{t|s}^2 = (1 - r^2) sigma_t^2, the root of k is one of a sum.
        # As the difference above it loses its digits where r is small, and may be the root of a negative number.
        r = alpha_t / alpha_s * k
        k, rho = k * (1.0 - eta**2 + (eta * r).square()).sqrt(), eta * sigma_s * (1.0 - r.square()).sqrt()
    return Transition(k, alpha_s - k * alpha_t, rho)
