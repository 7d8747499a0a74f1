"""Reverse processes: from a noisy start to the last estimate of the image, in a given number of evaluations.

Samplers are pure: denoiser, start, time grid and noise are arguments. The state is kept as DCT coefficients, where
every step is a product per frequency; without blur the same formulas hold for pixels and no transform is made.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lightning_codec.diffusion.dct import Frequencies, dct2, frequencies, idct2
from lightning_codec.diffusion.process import dissipate, transition
from lightning_codec.diffusion.schedule import BlurSchedule

SamplerName = Literal["ancestral", "ddim", "2m", "heun"]
"""Convergence order: ancestral 1 (stochastic), ddim 1, 2m 2 (multistep), heun 2 (two evaluations a step)."""

Denoiser = Callable[[Tensor, float], Tensor]
"""z_t [B, 3, H, W] and t to the estimate of x, [B, 3, H, W]: one evaluation of the network."""

Noise = Callable[[int], Tensor]
"""The n-th draw of white noise, [B, 3, H, W]; 0 is the start's."""


def time_grid(steps: int, t_start: float, power: float) -> list[float]:
    """t_i = t_start (1 - i / S)^p for i = 0 .. S: where the S evaluations are made, and then 0."""
    return [t_start * (1.0 - i / steps) ** power for i in range(steps + 1)]


def start(
    schedule: BlurSchedule, x_c: Tensor | None, t: float, gamma: float, noise: Tensor, colour: float = 1.0
) -> Tensor:
    """z_t to start from: IDCT(alpha_t * DCT(x_c)) + gamma sigma_t xi (warm), or gamma sigma_t xi (cold).

    With x_c = x, gamma = 1 and colour = 1 the warm start has the law q(z_t | x).

    Args:
        schedule: noise and blur.
        x_c: the distortion-oriented image [B, 3, H, W] in [-1, 1]; None for a cold start.
        t: time of the start.
        gamma: scale of the noise.
        noise: white noise [B, 3, H, W].
        colour: scale of what its three channels differ by from their mean.
    """
    if colour != 1.0:
        grey = noise.mean(1, keepdim=True)
        noise = grey + colour * (noise - grey)
    times = torch.full(noise.shape[:1], t, dtype=noise.dtype, device=noise.device)
    scaled = gamma * float(schedule.sigma(times[0])) * noise
    return scaled if x_c is None else scaled + dissipate(schedule, x_c, times)


class Step(NamedTuple):
    """One step from t to s < t, and what is known of the image; times are scalars in float64."""

    t: Tensor
    s: Tensor
    estimate: Tensor
    """u_hat at t, [B, 3, H, W]"""
    previous: tuple[Tensor, Tensor] | None
    """time of the step before and its u_hat; None in the first step"""


class Update(NamedTuple):
    """u_s = k u_t + added."""

    k: Tensor
    """one number for all frequencies (scalar), or [H, W] in an ancestral step with blur"""
    added: Tensor
    """[B, 3, H, W]"""


def advance(
    sampler: SamplerName, schedule: BlurSchedule, lam: Frequencies, step: Step, xi: Callable[[], Tensor]
) -> Update:
    """One step, in DCT coefficients, or in pixels where nothing is blurred.

    `2m` extrapolates the estimate from the last two, D = (1 + r) u_hat_t - r u_hat_prev with r = h / (2 h_prev) and
    h = ln(kappa_s / kappa_t), kappa = alpha / sigma, frequency by frequency (DPM-Solver++ of Lu et al., 2022, here with
    an alpha per frequency); its first step is `ddim`.

    Args:
        sampler: which; `heun` is two steps of `ddim`.
        schedule: noise and blur.
        lam: frequencies, in the type to compute in.
        step: times and estimates.
        xi: gives white noise in the space of the estimate; called by `ancestral` only.
    """
    estimate = step.estimate
    if sampler == "2m" and step.previous is not None:
        before, earlier = step.previous
        log_kappa = [torch.log(schedule.alpha(t, lam) / schedule.sigma(t)) for t in (before, step.t, step.s)]
        r = (log_kappa[2] - log_kappa[1]) / (2.0 * (log_kappa[1] - log_kappa[0]))
        estimate = estimate + r.to(estimate.dtype) * (estimate - earlier)
    k, gain, rho = (
        part.to(estimate.dtype)
        for part in transition(schedule, step.t, step.s, lam, 1.0 if sampler == "ancestral" else 0.0)
    )
    added = gain * estimate
    return Update(k, added + rho * xi() if sampler == "ancestral" else added)


def sample(
    denoiser: Denoiser,
    z: Tensor,
    grid: Sequence[float],
    schedule: BlurSchedule,
    sampler: SamplerName,
    noise: Noise,
    clamp: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Run a reverse process and return the last estimate of x, [B, 3, H, W].

    The output is an estimate, not z_0, which still carries noise of scale sigma_0. Evaluations are made at every time
    of the grid but the final 0: S of them, with `heun` 2 S - 1.

    Args:
        denoiser: estimates x.
        z: the start, z_t at grid[0], [B, 3, H, W]; not changed.
        grid: falling times, as `time_grid` gives.
        schedule: noise and blur.
        sampler: which.
        noise: draws 1, 2, ... are those of the steps; only `ancestral` takes any.
        clamp: keep every estimate within [-1, 1].
        progress: called after every evaluation with their number so far.
    """
    to_state, to_pixels = (_same, _same) if schedule.isotropic else (dct2, idct2)
    lam = frequencies(z.shape[-2], z.shape[-1], z.new_empty(0, dtype=torch.float64))
    times = [torch.tensor(t, dtype=torch.float64, device=z.device) for t in grid]
    evaluations = 0

    def evaluate(pixels: Tensor, t: float) -> Tensor:
        nonlocal evaluations
        x_hat = denoiser(pixels, t)
        evaluations += 1
        if progress is not None:
            progress(evaluations)
        return x_hat.clamp(-1.0, 1.0) if clamp else x_hat

    def moved(kind: SamplerName, step: Step, draw: int) -> Tensor:
        k, added = advance(kind, schedule, lam, step, lambda: to_state(noise(draw)))
        if k.ndim == 0:  # one number commutes with the transform
            return torch.add(to_pixels(added), z, alpha=float(k))
        return to_pixels(k * to_state(z) + added)

    previous: tuple[Tensor, Tensor] | None = None
    for i, (t, s) in enumerate(pairwise(times[:-1])):
        estimate = to_state(evaluate(z, grid[i]))
        if sampler == "heun":
            predicted = moved("ddim", Step(t, s, estimate, None), 0)
            estimate = 0.5 * (estimate + to_state(evaluate(predicted, grid[i + 1])))
        z, previous = moved(sampler, Step(t, s, estimate, previous), i + 1), (t, estimate)
    return evaluate(z, grid[-2])


def visited_state(
    denoiser: Denoiser,
    z: Tensor,
    grid: Sequence[float],
    stop: int,
    schedule: BlurSchedule,
    sampler: SamplerName,
    noise: Noise,
) -> Tensor:
    """The state that a reverse process evaluates at grid[stop], [B, 3, H, W]; other arguments as in `sample`."""
    state = z

    def recorder(pixels: Tensor, t: float) -> Tensor:
        nonlocal state
        state = pixels
        return pixels if t == grid[stop] else denoiser(pixels, t)

    sample(recorder, z, grid[: stop + 2], schedule, sampler, noise)
    return state


def _same(x: Tensor) -> Tensor:
    return x
