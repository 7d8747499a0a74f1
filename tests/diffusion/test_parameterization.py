"""What the network predicts: round trips, error weights, and scale."""

import pytest
import torch
from torch import Tensor

from lightning_codec.diffusion.dct import dct2, frequencies
from lightning_codec.diffusion.parameterization import Prediction, predicted_x, training_target
from lightning_codec.diffusion.process import diffuse
from lightning_codec.diffusion.schedule import BlurSchedule

PREDICTIONS: tuple[Prediction, ...] = ("x", "epsilon", "v", "scalar_v")
BLURS = [0.0, 4.0, 20.0]
T = torch.tensor([0.02, 0.35], dtype=torch.float64)


def white(seed: int, height: int = 12, width: int = 18) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("blur", BLURS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_target_stands_for_the_image(prediction: Prediction, blur: float) -> None:
    schedule, x, noise = BlurSchedule(sigma_blur_max=blur), white(0).clamp(-1, 1), white(1)
    target = training_target(prediction, x, noise, T, schedule)
    x_hat = predicted_x(prediction, target, diffuse(schedule, x, T, noise), T, schedule)
    assert (x_hat - x).abs().max() < 1e-9


@pytest.mark.parametrize("blur", BLURS)
@pytest.mark.parametrize("prediction", ["v", "scalar_v"])
def test_the_round_trip_is_accurate_in_single_precision(prediction: Prediction, blur: float) -> None:
    """An error of v is amplified by sigma / r < 6 at most, so rounding is all there is."""
    schedule, x, noise = BlurSchedule(sigma_blur_max=blur), white(0, 48, 80).clamp(-1, 1).float(), white(1, 48, 80)
    t, noise = T.float(), noise.float()
    target = training_target(prediction, x, noise, t, schedule)
    x_hat = predicted_x(prediction, target, diffuse(schedule, x, t, noise), t, schedule)
    assert x_hat.dtype == torch.float32
    assert (x_hat - x).square().mean().sqrt() < 1e-6
    assert (x_hat - x).abs().max() < 1e-5


def errors(prediction: Prediction, schedule: BlurSchedule) -> tuple[Tensor, Tensor, Tensor]:
    """The DCT of an error of the output, of the error of x that follows, and the SNR of every coefficient."""
    z, output, delta = white(0), white(1), white(2)
    moved = predicted_x(prediction, output + delta, z, T, schedule) - predicted_x(prediction, output, z, T, schedule)
    time = T[:, None, None, None]
    snr = (schedule.alpha(time, frequencies(12, 18, z)) / schedule.sigma(time)).square()
    return dct2(delta), dct2(moved), snr


@pytest.mark.parametrize("blur", BLURS)
def test_an_error_of_epsilon_is_the_error_of_x_times_the_snr(blur: float) -> None:
    delta, moved, snr = errors("epsilon", BlurSchedule(sigma_blur_max=blur))
    assert torch.allclose(delta.square(), snr * moved.square(), rtol=1e-8, atol=0)


@pytest.mark.parametrize("blur", BLURS)
def test_an_error_of_v_is_the_error_of_x_times_one_plus_the_snr(blur: float) -> None:
    delta, moved, snr = errors("v", BlurSchedule(sigma_blur_max=blur))
    assert torch.allclose(delta.square(), (1 + snr) * moved.square(), rtol=1e-8, atol=0)


@pytest.mark.parametrize("blur", BLURS)
def test_v_has_the_variance_of_the_data_at_every_frequency_and_time(blur: float) -> None:
    """White data of unit variance, independent of the noise: cos^2 phi + sin^2 phi = 1, whatever is blurred."""
    schedule, count = BlurSchedule(sigma_blur_max=blur), 4000
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, count, 3, 4, 4, generator=generator, dtype=torch.float64)
    for time in (0.05, 0.3, 0.8):
        v = training_target("v", x, noise, torch.full((count,), time, dtype=torch.float64), schedule)
        variance = dct2(v).square().mean(dim=(0, 1))
        assert (variance - 1).abs().max() < 0.06  # 4.6 standard deviations of 12,000 draws


def test_without_blur_both_kinds_of_v_are_one() -> None:
    schedule = BlurSchedule(sigma_blur_max=0.0)
    one, other = (training_target(kind, white(0), white(1), T, schedule) for kind in ("v", "scalar_v"))
    assert torch.allclose(one, other, rtol=0, atol=1e-13)
    a, sigma = schedule.a(T)[:, None, None, None], schedule.sigma(T)[:, None, None, None]
    assert torch.allclose(other, a * white(1) - sigma * white(0), rtol=0, atol=1e-14)


def test_with_blur_they_differ() -> None:
    schedule = BlurSchedule(sigma_blur_max=4.0)
    one, other = (training_target(kind, white(0), white(1), T, schedule) for kind in ("v", "scalar_v"))
    assert (one - other).abs().max() > 0.01


def test_an_unknown_prediction_names_the_choices() -> None:
    message = r"'w': it must be one of \('x', 'epsilon', 'v', 'scalar_v'\)"
    with pytest.raises(ValueError, match=message):
        predicted_x("w", white(0), white(1), T, BlurSchedule())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        training_target("w", white(0), white(1), T, BlurSchedule())  # type: ignore[arg-type]
