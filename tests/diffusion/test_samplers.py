"""Samplers: exact identities, draws and evaluations, and few-step behaviour."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_codec.diffusion.dct import dct2, frequencies, idct2
from lightning_codec.diffusion.noise import noise_key, position_noise
from lightning_codec.diffusion.process import transition
from lightning_codec.diffusion.samplers import SamplerName, Step, advance, sample, start, time_grid, visited_state
from lightning_codec.diffusion.schedule import BlurSchedule
from tests.diffusion.test_gaussian_toy import LAM, MEAN, VARIANCE, Exact

SAMPLERS: tuple[SamplerName, ...] = ("ancestral", "ddim", "2m", "heun")
BLURS = (0.0, 4.0, 20.0)


def image(height: int = 12, width: int = 16, seed: int = 0, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float64) * 2 - 1


class Noise:
    """Seeded draws, recorded."""

    def __init__(self, shape: torch.Size) -> None:
        self.shape = shape
        self.draws: list[int] = []

    def __call__(self, draw: int) -> Tensor:
        self.draws.append(draw)
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(100 + draw), dtype=torch.float64)


def scalar(t: float) -> Tensor:
    return torch.tensor(t, dtype=torch.float64)


def test_the_grid_is_a_power_of_uniform_steps() -> None:
    assert time_grid(4, 0.25, 2.0) == pytest.approx([0.25, 0.140625, 0.0625, 0.015625, 0.0])
    assert time_grid(1, 1.0, 3.0) == [1.0, 0.0]


@pytest.mark.parametrize("blur", BLURS)
@pytest.mark.parametrize("sampler", ["ddim", "2m"])
@pytest.mark.parametrize("steps", [1, 2, 5, 50])
def test_with_the_true_image_the_state_keeps_its_noise(sampler: SamplerName, steps: int, blur: float) -> None:
    """u_s = alpha_s u + sigma_s eps with the eps of the start, at every time down to 0."""
    schedule, x, eps = BlurSchedule(sigma_blur_max=blur), image(), Noise(torch.Size((1, 3, 12, 16)))(0)
    u, white = dct2(x), dct2(eps)
    grid = [scalar(t) for t in time_grid(steps, 1.0, 1.0)]
    state = schedule.alpha(grid[0], LAM) * u + schedule.sigma(grid[0]) * white
    previous = None
    for t, s in itertools.pairwise(grid):
        k, added = advance(sampler, schedule, LAM, Step(t, s, u, previous), lambda: white)
        state = k * state + added
        previous = (t, u)
        assert torch.allclose(state, schedule.alpha(s, LAM) * u + schedule.sigma(s) * white, atol=1e-10)


@pytest.mark.parametrize("blur", BLURS)
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 100])
def test_output_evaluations_and_draws(sampler: SamplerName, steps: int, blur: float) -> None:
    schedule, x = BlurSchedule(sigma_blur_max=blur), image(6, 10)
    noise = Noise(x.shape)
    calls: list[float] = []
    counts: list[int] = []

    def denoiser(z: Tensor, t: float) -> Tensor:
        assert bool(z.isfinite().all())
        calls.append(t)
        return x

    z = noise(0)
    given = z.clone()
    out = sample(denoiser, z, time_grid(steps, 1.0, 1.0), schedule, sampler, noise, progress=counts.append)
    assert torch.equal(out, x)
    assert torch.equal(z, given)
    assert len(calls) == (2 * steps - 1 if sampler == "heun" else steps)
    assert counts == list(range(1, len(calls) + 1))
    assert noise.draws == ([*range(steps)] if sampler == "ancestral" else [0])
    assert calls[-1] == pytest.approx(1.0 / steps)


def test_ancestral_chain_with_the_true_image_has_the_law_of_the_forward_process() -> None:
    """Variance sigma_s^2 at every frequency, mean alpha_s u: the noise added in a step is white after the blur too."""
    schedule, chains = BlurSchedule(), 3000
    u = dct2(image(8, 8))[:, :1].expand(chains, 1, 8, 8)
    lam = frequencies(8, 8, scalar(0.0))
    torch.manual_seed(0)
    grid = [scalar(t) for t in (1.0, 0.6, 0.3, 0.1)]
    state = schedule.alpha(grid[0], lam) * u + schedule.sigma(grid[0]) * torch.randn(u.shape, dtype=torch.float64)
    for t, s in itertools.pairwise(grid):

        def xi() -> Tensor:
            return dct2(torch.randn(u.shape, dtype=torch.float64))

        k, added = advance("ancestral", schedule, lam, Step(t, s, u, None), xi)
        state = k * state + added
    residual = (state - schedule.alpha(grid[-1], lam) * u) / schedule.sigma(grid[-1])
    assert float(residual.mean(0).abs().max()) < 5 / math.sqrt(chains)
    assert float((residual.var(0) - 1.0).abs().max()) < 5 * math.sqrt(2.0 / chains)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_without_blur_it_is_ordinary_diffusion_in_pixels(sampler: SamplerName) -> None:
    """The formulas in frequency space, at a blur too small to matter, give the pixel path's picture."""
    x = image(12, 16)
    noise = Noise(x.shape)

    def denoiser(z: Tensor, t: float) -> Tensor:
        return 0.6 * torch.tanh(z) + 0.2 * x

    def run(schedule: BlurSchedule) -> Tensor:
        z = start(schedule, x, 0.8, 1.0, noise(0))
        return sample(denoiser, z, time_grid(6, 0.8, 2.0), schedule, sampler, noise)

    blurred = run(BlurSchedule(sigma_blur_max=1e-6))
    assert torch.allclose(run(BlurSchedule(sigma_blur_max=0.0)), blurred, atol=1e-6)
    assert not torch.allclose(run(BlurSchedule(sigma_blur_max=2.0)), blurred, atol=1e-3)


def test_pixel_and_frequency_form_of_one_vp_step_agree_with_the_closed_form() -> None:
    """sigma_blur_max 0: x_s = (sigma_s / sigma_t) z + (a_s - sigma_s a_t / sigma_t) x_hat."""
    schedule = BlurSchedule(sigma_blur_max=0.0)
    x, z = image(), image(seed=1)
    t, s = scalar(0.6), scalar(0.4)
    a_t, a_s, sigma_t, sigma_s = schedule.a(t), schedule.a(s), schedule.sigma(t), schedule.sigma(s)
    k, added = advance("ddim", schedule, LAM, Step(t, s, x, None), lambda: z)
    assert torch.allclose(k * z + added, sigma_s / sigma_t * z + (a_s - sigma_s / sigma_t * a_t) * x, atol=1e-14)


def test_2m_extrapolates_to_the_middle_of_the_step_frequency_by_frequency() -> None:
    """An estimate that is linear in ln(alpha / sigma) is taken at the mean of its values at t and s."""
    schedule, times = BlurSchedule(), [scalar(t) for t in (0.7, 0.5, 0.2)]
    log_kappa = [torch.log(schedule.alpha(t, LAM) / schedule.sigma(t)) for t in times]
    before, now = (0.3 + 0.1 * value for value in log_kappa[:2])
    middle = 0.3 + 0.1 * 0.5 * (log_kappa[1] + log_kappa[2])
    added = advance("2m", schedule, LAM, Step(times[1], times[2], now, (times[0], before)), lambda: now).added
    assert torch.allclose(added, transition(schedule, times[1], times[2], LAM, 0.0).gain * middle, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.25, 1.0])
def test_scaled_start_noise_costs_gamma_squared_of_the_least_error(gamma: float) -> None:
    """For Gaussian data, MSE = (1 + gamma^2) D_mmse and the texture has gamma^2 of the variance (400 steps)."""
    schedule = BlurSchedule()
    exact = Exact(schedule)
    both = torch.stack([torch.zeros_like(MEAN), torch.ones_like(MEAN)])[
        :, None
    ]  # the map from noise to x_hat is linear
    z = start(schedule, idct2(MEAN).expand_as(both), 1.0, gamma, idct2(both))
    ends = dct2(sample(exact, z, time_grid(400, 1.0, 1.0), schedule, "ddim", Noise(z.shape)))[:, 0]
    assert torch.allclose(ends[0], MEAN, atol=1e-3)
    error = VARIANCE + (ends[1] - ends[0]).square()
    assert float(error.sum() / VARIANCE.sum()) == pytest.approx(1.0 + gamma**2, rel=0.03)


def test_a_start_is_the_diffused_image_or_noise_alone() -> None:
    """Warm with gamma 1 it is a draw of q(z_t | x): alpha_t u + sigma_t eps per coefficient."""
    schedule, x, eps = BlurSchedule(), image(), image(seed=1)
    alpha, sigma = schedule.alpha(scalar(0.4), LAM), schedule.sigma(scalar(0.4))
    assert torch.allclose(dct2(start(schedule, x, 0.4, 1.0, eps)), alpha * dct2(x) + sigma * dct2(eps), atol=1e-12)
    assert torch.allclose(start(schedule, None, 0.4, 0.5, eps), 0.5 * sigma * eps, atol=1e-12)


@pytest.mark.parametrize("colour", [0.0, 0.25])
def test_the_noise_of_a_start_keeps_its_brightness_and_a_share_of_its_colour(colour: float) -> None:
    schedule, eps = BlurSchedule(), torch.randn(2, 3, 6, 5, dtype=torch.float64)
    sigma = schedule.sigma(scalar(0.4))
    noise = start(schedule, None, 0.4, 0.5, eps, colour) / (0.5 * sigma)
    assert torch.allclose(noise.sum(1), eps.sum(1), atol=1e-12)
    for one, other in ((0, 1), (1, 2)):
        assert torch.allclose(noise[:, one] - noise[:, other], colour * (eps[:, one] - eps[:, other]), atol=1e-12)
    x_c = torch.rand(2, 3, 6, 5, dtype=torch.float64)
    bare = start(schedule, x_c, 0.4, 0.0, eps)
    assert torch.allclose(start(schedule, x_c, 0.4, 0.5, eps, colour), bare + 0.5 * sigma * noise, atol=1e-12)


@pytest.mark.parametrize(("sampler", "gamma"), [("2m", 0.0), ("2m", 0.5), ("ancestral", 0.0)])
def test_the_picture_depends_on_the_seed_exactly_when_there_is_noise(sampler: SamplerName, gamma: float) -> None:
    schedule, x_c = BlurSchedule(), image(6, 10).float()

    def picture(seed: int) -> Tensor:
        key = noise_key(b"a file", seed)

        def noise(draw: int) -> Tensor:
            return position_noise(key, draw, 3, range(6), range(10))[None]

        z = start(schedule, x_c, 0.3, gamma, noise(0))
        return sample(lambda z, t: 0.5 * z + 0.5 * x_c, z, time_grid(3, 0.3, 2.0), schedule, sampler, noise)

    assert picture(0).dtype == torch.float32
    assert torch.equal(picture(0), picture(0))
    assert torch.equal(picture(0), picture(1)) == (sampler == "2m" and gamma == 0.0)


@pytest.mark.parametrize("clamp", [False, True])
def test_clamping_keeps_every_estimate_in_range(clamp: bool) -> None:
    schedule, seen = BlurSchedule(sigma_blur_max=0.0), []

    def denoiser(z: Tensor, t: float) -> Tensor:
        seen.append(z)
        return torch.full_like(z, 3.0)

    z = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    out = sample(denoiser, z, [0.5, 0.25, 0.0], schedule, "ddim", lambda _: z, clamp=clamp)
    used = 1.0 if clamp else 3.0
    assert torch.equal(out, torch.full_like(z, used))
    gain = transition(schedule, scalar(0.5), scalar(0.25), LAM, 0.0).gain
    assert torch.allclose(seen[1], (used * gain).expand_as(z))


@pytest.mark.parametrize(("eta", "expected"), [(1.0, "ancestral"), (0.0, "ddim")])
def test_one_step_has_the_published_coefficients(eta: float, expected: str) -> None:
    """t = .5 to .4 on a 4x6 grid, log-SNR in [-10, 10], sigma_blur_max 20: computed independently in float64."""
    schedule = BlurSchedule(log_snr_min=-10.0, sigma_blur_max=20.0)
    lam = frequencies(4, 6, scalar(0.0))
    k, gain, rho = transition(schedule, scalar(0.5), scalar(0.4), lam, eta)
    if expected == "ancestral":
        assert float(rho.expand(4, 6)[0, 0]) == pytest.approx(0.403341502, abs=1e-8)
        assert float(k.expand(4, 6)[1, 2]) == pytest.approx(0.606777240, abs=1e-8)
        values = (0.379167878, 0.000379168)
    else:
        assert float(rho) == 0.0
        assert float(k) == pytest.approx(0.832794905, abs=1e-8)
        values = (0.219349254, 0.000219349)
    assert (float(gain[0, 0]), float(gain[1, 2])) == pytest.approx(values, abs=1e-8)


def counted(function: Callable[[Tensor], Tensor], calls: list[int]) -> Callable[[Tensor], Tensor]:
    def wrapper(x: Tensor) -> Tensor:
        calls.append(1)
        return function(x)

    return wrapper


def test_transforms_are_two_a_step_and_none_without_blur(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_codec.diffusion import samplers

    calls: list[int] = []
    monkeypatch.setattr(samplers, "dct2", counted(dct2, calls))
    monkeypatch.setattr(samplers, "idct2", counted(idct2, calls))
    x = image()
    for blur, steps, expected in ((4.0, 4, 6), (4.0, 1, 0), (0.0, 4, 0)):
        calls.clear()
        sample(lambda z, t: z, x, time_grid(steps, 0.3, 2.0), BlurSchedule(sigma_blur_max=blur), "2m", lambda _: x)
        assert len(calls) == expected


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "2m"])
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_a_visited_state_is_what_the_sampler_evaluates(sampler: SamplerName, stop: int) -> None:
    schedule, x = BlurSchedule(), image()
    grid = time_grid(5, 0.4, 2.0)
    seen: list[Tensor] = []
    calls: list[float] = []

    def whole(z: Tensor, t: float) -> Tensor:
        seen.append(z)
        return 0.5 * z + 0.2 * x

    def counted_denoiser(z: Tensor, t: float) -> Tensor:
        calls.append(t)
        return 0.5 * z + 0.2 * x

    sample(whole, x, grid, schedule, sampler, Noise(x.shape))
    state = visited_state(counted_denoiser, x, grid, stop, schedule, sampler, Noise(x.shape))
    assert torch.equal(state, seen[stop])
    assert calls == grid[:stop]
