"""The schedules against their closed forms and golden values."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import Tensor

from lightning_codec.diffusion.dct import Frequencies, frequencies
from lightning_codec.diffusion.schedule import BlurSchedule
from lightning_codec.errors import UserError

GOLDEN = BlurSchedule(log_snr_max=10.0, log_snr_min=-10.0, dissipation_min=1e-3, sigma_blur_max=20.0)
TIMES = torch.linspace(0.0, 1.0, 501, dtype=torch.float64)
LAM = frequencies(12, 16, TIMES)


def column(t: Tensor) -> Tensor:
    return t[:, None, None, None]


def line(lam: Frequencies) -> Frequencies:
    """omega = pi/256, pi/16 and pi/2 along one axis of a picture 256 pixels high."""
    return Frequencies(lam.rows[[1, 16, 128]], lam.columns)


# t, a, sigma, sigma_B, d at pi/256, pi/16 and pi/2, to the digits printed.
TABLE = [
    (0.05, 0.996423226, 0.084502983, 0.123117, 0.999998860, 0.999708146, 0.981492230),
    (0.10, 0.986830771, 0.161756079, 0.489435, 0.999981981, 0.995397618, 0.744393995),
    (0.25, 0.922585061, 0.385793733, 2.928932, 0.999354890, 0.847735140, 0.001025306),
    (0.50, 0.707106781, 0.707106781, 10.0, 0.992505870, 0.146343175, 0.001000000),
    (0.75, 0.385793733, 0.922585061, 17.071068, 0.978316950, 0.004629701, 0.001000000),
    (1.00, 0.006737794, 0.999977301, 20.0, 0.970359105, 0.001447592, 0.001000000),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"t={row[0]}")
def test_golden_values(row: tuple[float, ...]) -> None:
    t = torch.tensor(row[0], dtype=torch.float64)
    assert GOLDEN.a(t).item() == pytest.approx(row[1], abs=1e-9)
    assert GOLDEN.sigma(t).item() == pytest.approx(row[2], abs=1e-9)
    assert GOLDEN.sigma_blur(t).item() == pytest.approx(row[3], abs=1e-6)
    d = GOLDEN.dissipation(t, line(frequencies(256, 1, TIMES)))
    assert d.flatten().tolist() == pytest.approx(row[4:], abs=1e-9)
    alpha = GOLDEN.alpha(t, line(frequencies(256, 1, TIMES)))
    assert alpha.flatten().tolist() == pytest.approx([row[1] * value for value in row[4:]], abs=1e-9)


def test_golden_ends() -> None:
    zero, one = TIMES[0], TIMES[-1]
    assert GOLDEN.a(zero).item() == pytest.approx(0.9999773008080222, abs=1e-15)
    assert GOLDEN.sigma(one).item() == pytest.approx(0.9999773008080222, abs=1e-15)
    assert GOLDEN.sigma(zero).item() == pytest.approx(0.006737794053, abs=1e-12)
    assert BlurSchedule(log_snr_min=-15.0).a(one).item() == pytest.approx(5.531e-4, abs=5e-8)
    assert BlurSchedule(log_snr_min=-20.0).a(one).item() == pytest.approx(4.540e-5, abs=5e-9)


@pytest.mark.parametrize("schedule", [GOLDEN, BlurSchedule()])
def test_signal_and_noise_are_roots_of_the_logistic_log_snr(schedule: BlurSchedule) -> None:
    a, sigma, log_snr = schedule.a(TIMES), schedule.sigma(TIMES), schedule.log_snr(TIMES)
    assert torch.allclose(a.square() + sigma.square(), torch.ones_like(a), rtol=0, atol=1e-15)
    assert np.abs(a.numpy() - np.sqrt(expit(log_snr.numpy()))).max() < 1e-12
    assert np.abs(sigma.numpy() - np.sqrt(expit(-log_snr.numpy()))).max() < 1e-12
    assert log_snr[0].item() == pytest.approx(schedule.log_snr_max, abs=1e-9)
    assert log_snr[-1].item() == pytest.approx(schedule.log_snr_min, abs=1e-7)


def test_both_ends_are_finite_in_single_precision() -> None:
    t = torch.tensor([0.0, 1.0])
    schedule = BlurSchedule()
    assert bool((schedule.sigma(t) > 0).all())
    assert bool((schedule.a(t) > 0).all())
    assert schedule.log_snr(t).tolist() == pytest.approx([10.0, -15.0], abs=1e-3)


@pytest.mark.parametrize("blur", [1.0, 4.0, 20.0])
def test_dissipation_starts_at_one_and_only_falls(blur: float) -> None:
    schedule = BlurSchedule(sigma_blur_max=blur)
    d = schedule.dissipation(column(TIMES), LAM)
    assert d.shape == (len(TIMES), 1, *LAM.squared.shape)
    assert torch.equal(d[0], torch.ones_like(d[0]))
    assert bool((d[:, 0, 0, 0] == 1.0).all())
    assert bool((d.diff(dim=0) <= 0).all())
    assert bool((d.flatten(1)[:, LAM.squared.flatten().argsort()].diff(dim=1) <= 1e-15).all())
    assert bool((d >= schedule.dissipation_min).all())
    assert bool((schedule.alpha(column(TIMES), LAM) > 0).all())
    # The formula itself, with lambda as one number.
    tau = 0.5 * (blur * torch.sin(math.pi * column(TIMES) / 2) ** 2) ** 2
    assert torch.allclose(d, 1e-3 + (1 - 1e-3) * torch.exp(-LAM.squared * tau), rtol=1e-12, atol=0)


@pytest.mark.parametrize("blur", [0.0, 1.0, 4.0, 20.0])
def test_the_signal_to_noise_ratio_falls_at_every_frequency(blur: float) -> None:
    """Strictly, so the process is a Markov chain: sigma_{t|s}^2 = sigma_t^2 - (alpha_t sigma_s / alpha_s)^2 > 0."""
    schedule = BlurSchedule(sigma_blur_max=blur)
    alpha, sigma = schedule.alpha(column(TIMES), LAM), schedule.sigma(column(TIMES))
    snr = (alpha / sigma).square()
    assert bool((snr.diff(dim=0) < 0).all())
    for s in (0, 100, 400, 499):
        fresh = sigma[s + 1 :].square() - (alpha[s + 1 :] / alpha[s] * sigma[s]).square()
        assert bool((fresh > 0).all())


def test_without_blur_alpha_is_one_number() -> None:
    schedule = BlurSchedule(sigma_blur_max=0.0)
    assert schedule.isotropic
    assert not GOLDEN.isotropic
    assert torch.equal(schedule.alpha(column(TIMES), LAM), schedule.a(column(TIMES)))


def test_every_image_of_a_batch_has_its_own_time() -> None:
    t = torch.tensor([0.1, 0.6], dtype=torch.float64)
    alpha = GOLDEN.alpha(column(t), LAM)
    assert torch.equal(alpha[0, 0], GOLDEN.alpha(t[0], LAM))
    assert torch.equal(alpha[1, 0], GOLDEN.alpha(t[1], LAM))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda: BlurSchedule(log_snr_max=-15.0), "log_snr_min -15.0 must be below log_snr_max -15.0"),
        (lambda: BlurSchedule(dissipation_min=0.0), r"dissipation_min is 0.0: it must lie in \(0, 1\]"),
        (lambda: BlurSchedule(dissipation_min=1.1), r"dissipation_min is 1.1: it must lie in \(0, 1\]"),
        (lambda: BlurSchedule(sigma_blur_max=-1.0), "sigma_blur_max is -1.0: it must be 0 or more"),
    ],
)
def test_impossible_schedules_are_refused(schedule: Callable[[], BlurSchedule], message: str) -> None:
    with pytest.raises(UserError, match=message):
        schedule()
