"""The training objective: times, weights, and what each prediction is compared with."""

import pytest
import torch

from lightning_codec.diffusion.denoiser import DenoiserConfig, Estimate
from lightning_codec.diffusion.objective import diffusion_loss, min_snr_weight, stratified_times
from lightning_codec.diffusion.parameterization import Prediction
from lightning_codec.diffusion.process import diffuse
from lightning_codec.diffusion.schedule import BlurSchedule


def test_times_fall_one_into_each_stratum_and_wrap_around() -> None:
    for u in (0.0, 0.3, 0.99):
        t = stratified_times(8, 0.4, torch.tensor(u, dtype=torch.float64))
        assert sorted((t / 0.05 + 1e-9).floor().int().tolist()) == list(range(8))
    t = stratified_times(4, 0.4, torch.tensor(0.5))
    assert t.tolist() == pytest.approx([0.2, 0.3, 0.0, 0.1])


def test_the_weight_is_the_capped_signal_to_noise_ratio() -> None:
    schedule = BlurSchedule()
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    snr = (schedule.a(t) / schedule.sigma(t)).square()
    weight = min_snr_weight(schedule, t, 5.0)
    assert weight[0] == 5.0
    assert weight[1:].tolist() == pytest.approx(snr[1:].tolist(), rel=1e-9)


@pytest.mark.parametrize(("prediction", "factor"), [("x", "w"), ("epsilon", "snr"), ("v", "1+snr")])
def test_an_error_of_x_costs_what_its_parameterisation_says(prediction: Prediction, factor: str) -> None:
    """Without blur: w(t) |dx|^2 for x, SNR |dx|^2 for epsilon, (1 + SNR) |dx|^2 for v."""
    schedule = BlurSchedule(sigma_blur_max=0.0)
    config = DenoiserConfig(schedule=schedule, prediction=prediction)
    torch.manual_seed(0)
    x, noise = torch.rand(2, 3, 8, 8).double() * 2 - 1, torch.randn(2, 3, 8, 8).double()
    t = torch.tensor([0.2, 0.6], dtype=torch.float64)
    z = diffuse(schedule, x, t, noise)
    a, sigma = schedule.a(t)[:, None, None, None], schedule.sigma(t)[:, None, None, None]
    x_hat = x + 0.1
    epsilon_hat = (z - a * x_hat) / sigma
    output = {"x": x_hat, "epsilon": epsilon_hat, "v": a * epsilon_hat - sigma * x_hat}[prediction]
    snr = schedule.log_snr(t).exp()
    expected = {"w": snr.clamp(max=5.0), "snr": snr, "1+snr": 1 + snr}[factor] * 0.01
    loss = diffusion_loss(config, Estimate(output, x_hat), x, noise, t, 5.0)
    assert loss.tolist() == pytest.approx(expected.tolist(), rel=1e-9)
