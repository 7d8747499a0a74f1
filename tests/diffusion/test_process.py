"""The forward process and the reverse transitions: a Gaussian blur, and exact moments."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from lightning_codec.diffusion.dct import dct2, frequencies
from lightning_codec.diffusion.process import diffuse, dissipate, transition
from lightning_codec.diffusion.schedule import BlurSchedule

GOLDEN = BlurSchedule(log_snr_max=10.0, log_snr_min=-10.0, dissipation_min=1e-3, sigma_blur_max=20.0)
LAM = frequencies(12, 16, torch.empty(0, dtype=torch.float64))
PAIRS = [(0.05, 0.0), (0.1, 0.09), (0.5, 0.4), (0.6, 0.1), (1.0, 0.0), (1.0, 0.99)]
BLURS = [0.0, 1.0, 4.0, 20.0]


def scalar(t: float) -> Tensor:
    return torch.tensor(t, dtype=torch.float64)


def image(height: int, width: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("sigma", [2.0, 4.0])
def test_dissipation_is_a_gaussian_blur_with_mirror_boundary(sigma: float) -> None:
    schedule = BlurSchedule(log_snr_min=-2.0, dissipation_min=1e-12, sigma_blur_max=sigma)
    x, one = image(48, 37), torch.ones(1, dtype=torch.float64)
    blurred = dissipate(schedule, x, one) / schedule.a(one)
    expected = np.stack([gaussian_filter(c, sigma, mode="reflect", truncate=8.0) for c in x[0].numpy()])
    assert np.abs(blurred[0].numpy() - expected).max() < 1e-6
    assert torch.allclose(blurred.mean(dim=(2, 3)), x.mean(dim=(2, 3)), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (768, 512), (512, 768)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_wave_of_32_pixels_fades_alike_in_every_size(height: int, width: int, axis: int) -> None:
    n = torch.arange((height, width)[axis], dtype=torch.float64)
    wave = torch.cos(2 * math.pi / 32 * (n + 0.5))
    x = (wave[:, None] if axis == 0 else wave[None, :]).expand(1, 1, height, width)
    z = dissipate(GOLDEN, x, torch.tensor([0.5], dtype=torch.float64))
    assert torch.allclose(z, 0.1463431748 * math.sqrt(0.5) * x, rtol=0, atol=1e-9)


@pytest.mark.parametrize("blur", BLURS)
def test_every_image_is_diffused_to_its_own_time(blur: float) -> None:
    schedule = BlurSchedule(sigma_blur_max=blur)
    x, noise = image(12, 16, batch=3), image(12, 16, batch=3).flip(-1)
    t = torch.tensor([0.02, 0.3, 0.9], dtype=torch.float64)
    u_z = dct2(diffuse(schedule, x, t, noise))
    for i, time in enumerate(t):
        expected = schedule.alpha(time, LAM) * dct2(x[i]) + schedule.sigma(time) * dct2(noise[i])
        assert torch.allclose(u_z[i], expected, rtol=0, atol=1e-13)


def test_without_blur_it_is_variance_preserving_diffusion_to_the_bit() -> None:
    schedule, x, noise = BlurSchedule(sigma_blur_max=0.0), image(7, 10).float(), image(7, 10).flip(-1).float()
    t = torch.tensor([0.3])
    assert torch.equal(diffuse(schedule, x, t, noise), schedule.a(t) * x + schedule.sigma(t) * noise)


def test_single_precision_follows_double() -> None:
    x, noise, t = image(48, 80), image(48, 80).flip(-1), torch.tensor([0.3], dtype=torch.float64)
    z = diffuse(GOLDEN, x.float(), t.float(), noise.float())
    assert z.dtype == torch.float32
    assert (z.double() - diffuse(GOLDEN, x, t, noise)).abs().max() < 5e-6


def test_golden_transitions() -> None:
    """From t = 0.5 to 0.4 on a 4 x 6 grid."""
    lam = frequencies(4, 6, LAM.rows)
    ancestral = transition(GOLDEN, scalar(0.5), scalar(0.4), lam, eta=1.0)
    for position, gain in (((0, 0), 0.379167878), ((1, 2), 0.000379168)):
        assert ancestral.gain[position].item() == pytest.approx(gain, abs=1e-9)
        assert ancestral.k[position].item() == pytest.approx(0.606777240, abs=1e-9)
        assert ancestral.rho[position].item() == pytest.approx(0.403341502, abs=1e-9)
    ddim = transition(GOLDEN, scalar(0.5), scalar(0.4), lam, eta=0.0)
    assert ddim.k.item() == pytest.approx(0.832794905, abs=1e-9)
    assert ddim.rho.item() == 0.0
    assert ddim.gain[0, 0].item() == pytest.approx(0.219349254, abs=1e-9)
    assert ddim.gain[1, 2].item() == pytest.approx(0.000219349, abs=1e-9)


@pytest.mark.parametrize(("t", "s"), PAIRS)
@pytest.mark.parametrize("blur", BLURS)
def test_the_ancestral_step_is_the_posterior(blur: float, t: float, s: float) -> None:
    """Bayes: precisions add, 1 / sigma_s^2 of q(z_s | x) and alpha_{t|s}^2 / sigma_{t|s}^2 of q(z_t | z_s)."""
    schedule = BlurSchedule(sigma_blur_max=blur)
    alpha_s, variance_s = schedule.alpha(scalar(s), LAM), schedule.sigma(scalar(s)).square()
    ratio = schedule.alpha(scalar(t), LAM) / alpha_s
    fresh = schedule.sigma(scalar(t)).square() - ratio.square() * variance_s
    variance = 1.0 / (1.0 / variance_s + ratio.square() / fresh)
    k, gain, rho = transition(schedule, scalar(t), scalar(s), LAM, eta=1.0)
    assert torch.allclose(rho.square(), variance, rtol=1e-10, atol=0)
    assert torch.allclose(k, variance * ratio / fresh, rtol=1e-9, atol=1e-16)
    assert torch.allclose(gain, variance * alpha_s / variance_s, rtol=1e-9, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_long_step_over_a_vanishing_signal_is_finite(dtype: torch.dtype) -> None:
    """There k is tiny, the square root of a difference of equals if it is written so."""
    schedule = BlurSchedule(dissipation_min=1e-8, sigma_blur_max=20.0)
    lam = frequencies(12, 16, torch.empty(0, dtype=dtype))
    for i in range(1, 200):
        for part in transition(schedule, scalar(0.8).to(dtype), scalar(0.8 * i / 200).to(dtype), lam, eta=1.0):
            assert bool(torch.isfinite(part).all())


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("blur", BLURS)
def test_every_step_turns_the_marginal_of_t_into_that_of_s(blur: float, eta: float) -> None:
    schedule = BlurSchedule(sigma_blur_max=blur)
    for t, s in PAIRS:
        alpha_t, alpha_s = schedule.alpha(scalar(t), LAM), schedule.alpha(scalar(s), LAM)
        sigma_t, sigma_s = schedule.sigma(scalar(t)), schedule.sigma(scalar(s))
        k, gain, rho = transition(schedule, scalar(t), scalar(s), LAM, eta)
        assert torch.allclose(k * alpha_t + gain, alpha_s, rtol=0, atol=1e-15)
        assert torch.allclose((k * sigma_t).square() + rho.square(), sigma_s.square(), rtol=0, atol=1e-15)
        assert torch.isfinite(gain).all()


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("blur", BLURS)
def test_a_chain_arrives_where_the_direct_way_leads(blur: float, eta: float) -> None:
    """Mean (per unit of u) and variance after 37 steps with the true image, from t = 1 to 0; every draw is fresh."""
    schedule = BlurSchedule(sigma_blur_max=blur)
    times = [scalar(1 - i / 37) for i in range(38)]
    mean = schedule.alpha(times[0], LAM)
    variance = schedule.sigma(times[0]).square()
    for t, s in pairwise(times):
        k, gain, rho = transition(schedule, t, s, LAM, eta)
        mean, variance = k * mean + gain, k.square() * variance + rho.square()
    assert torch.allclose(mean, schedule.alpha(times[-1], LAM), rtol=0, atol=1e-14)
    assert torch.allclose(variance, schedule.sigma(times[-1]).square(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_without_blur_a_transition_is_three_numbers(eta: float) -> None:
    step = transition(BlurSchedule(sigma_blur_max=0.0), scalar(0.5), scalar(0.4), LAM, eta)
    assert [part.shape for part in step] == [torch.Size([])] * 3
