"""Samplers on Gaussian data with the exact denoiser, where every law is known: convergence orders and variances.

The data are independent per DCT coefficient, u ~ N(m, S). The exact denoiser is linear,
E[u | u_t] = m + alpha S (u_t - alpha m) / (alpha^2 S + sigma^2), so a whole chain is linear too: running it on the mean
and on the mean plus one standard deviation gives the mean and the gain of its end exactly.
"""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from lightning_codec.diffusion.dct import dct2, frequencies, idct2
from lightning_codec.diffusion.process import transition
from lightning_codec.diffusion.samplers import SamplerName, sample
from lightning_codec.diffusion.schedule import BlurSchedule

LAM = frequencies(12, 16, torch.zeros((), dtype=torch.float64))
VARIANCE = 0.25 / (1.0 + 20.0 * LAM.squared)  # falls with frequency, as that of pictures does
MEAN = 0.3 * torch.cos(torch.arange(12 * 16, dtype=torch.float64)).reshape(12, 16)


class Exact:
    """The posterior mean."""

    def __init__(self, schedule: BlurSchedule) -> None:
        self.schedule = schedule

    def coefficients(self, u: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.schedule.alpha(t, LAM), self.schedule.sigma(t)
        return MEAN + alpha * VARIANCE / (alpha.square() * VARIANCE + sigma.square()) * (u - alpha * MEAN)

    def __call__(self, z: Tensor, t: float) -> Tensor:
        return idct2(self.coefficients(dct2(z), torch.tensor(t, dtype=torch.float64)))


def no_noise(draw: int) -> Tensor:
    raise AssertionError(f"draw {draw} of a deterministic sampler")


def scalars(times: list[float]) -> list[Tensor]:
    return [torch.tensor(t, dtype=torch.float64) for t in times]


def marginal(schedule: BlurSchedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of q(u_t)."""
    alpha, sigma = schedule.alpha(t, LAM), schedule.sigma(t)
    return alpha * MEAN, (alpha.square() * VARIANCE + sigma.square()).sqrt()


def end_of_chain(sampler: SamplerName, exact: Exact, grid: list[float], state: Tensor) -> Tensor:
    """The state u at the last time but 0 of a deterministic chain: what the last evaluation is given."""
    seen: list[Tensor] = []

    def denoiser(z: Tensor, t: float) -> Tensor:
        seen.append(z)
        return exact(z, t)

    sample(denoiser, idct2(state), grid, exact.schedule, sampler, no_noise)
    return dct2(seen[-1])


def ancestral_variance(exact: Exact, grid: list[float], variance: Tensor) -> Tensor:
    """Of the state at the last time but 0: every step is linear in the state and adds noise of its own."""
    for t, s in pairwise(scalars(grid[:-1])):
        step = transition(exact.schedule, t, s, LAM, 1.0)
        slope = exact.coefficients(torch.ones_like(MEAN), t) - exact.coefficients(torch.zeros_like(MEAN), t)
        variance = (step.k + step.gain * slope).square() * variance + step.rho.square()
    return variance


def state_error(sampler: SamplerName, schedule: BlurSchedule, steps: int) -> float:
    """RMS over coefficients of the Wasserstein-2 distance of the chain's law at t = 0.02 to q(u_t) there.

    Equal steps from t = 1, where the chain starts with the right law.
    """
    exact = Exact(schedule)
    grid = [*(1.0 + (0.02 - 1.0) * i / steps for i in range(steps + 1)), 0.0]
    start_mean, start_deviation = marginal(schedule, scalars(grid)[0])
    mean, deviation = marginal(schedule, scalars(grid)[-2])
    if sampler == "ancestral":  # the exact denoiser keeps the mean; what is to be seen is in the variance
        law_mean, law_deviation = mean, ancestral_variance(exact, grid, start_deviation.square()).sqrt()
    else:
        starts = torch.stack([start_mean, start_mean + start_deviation])[:, None]
        low, high = end_of_chain(sampler, exact, grid, starts)[:, 0]
        law_mean, law_deviation = low, high - low
    squared = (law_mean - mean).square() + (law_deviation - deviation).square()
    return math.sqrt(float(squared.mean()))


@pytest.mark.parametrize("sigma_blur_max", [0.0, 4.0, 20.0])
@pytest.mark.parametrize(("sampler", "order"), [("ancestral", 1), ("ddim", 1), ("2m", 2), ("heun", 2)])
def test_order_of_convergence(sampler: SamplerName, order: int, sigma_blur_max: float) -> None:
    schedule = BlurSchedule(sigma_blur_max=sigma_blur_max)
    errors = [state_error(sampler, schedule, steps) for steps in (200, 400, 800)]
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert orders == pytest.approx([order, order], abs=0.15 if order == 1 else 0.3)


def test_ancestral_chains_have_the_variance_of_the_recursion() -> None:
    """10 steps, 4,000 chains: the ratio of variances over all coefficients and chains is 1 within 4 %."""
    exact, chains = Exact(BlurSchedule()), 4000
    grid = [*(1.0 - 0.098 * i for i in range(11)), 0.0]
    generator = torch.Generator().manual_seed(0)
    mean, deviation = marginal(exact.schedule, scalars(grid)[0])
    shape = (chains, 1, 12, 16)
    seen: list[Tensor] = []

    def denoiser(z: Tensor, t: float) -> Tensor:
        seen.append(z)
        return exact(z, t)

    def noise(draw: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    z = idct2(mean + deviation * noise(0))
    sample(denoiser, z, grid, exact.schedule, "ancestral", noise)
    ratio = dct2(seen[-1]).var(0)[0] / ancestral_variance(exact, grid, deviation.square())
    assert float((ratio - 1.0).abs().max()) < 5 * math.sqrt(2 / chains)
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.01)
