"""The linear start of g_a and g_s: orthonormal, energy-ordered, each other's inverse."""

import math

import pytest
import torch

from lightning_codec.model import CompressionModel, NetworkConfig
from lightning_codec.transforms import AnalysisTransform, SynthesisLadder, quantizer_step, start_linearly
from lightning_codec.transforms.linear_start import principal_components


def started(channels: tuple[int, int, int], latent_channels: int, step: float = 1.0) -> CompressionModel:
    torch.manual_seed(0)
    model = CompressionModel(NetworkConfig(channels=channels, latent_channels=latent_channels))
    start_linearly(model.g_a, model.g_s, step)
    return model


def smooth_picture(size: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(1, 1, 6, 6, generator=generator).expand(1, 3, 6, 6)  # details hardly have colour
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)


def test_with_room_for_all_components_the_picture_comes_back_and_energy_is_kept() -> None:
    model = started((12, 48, 192), 768)
    x = torch.full((1, 3, 160, 192), 0.5)  # grey, which is 0, as far from the border as the filters reach
    x[:, :, 64:96, 64:128] = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        y = model.g_a(x)
        x_hat = model.g_s(y).c0
    assert torch.allclose(x_hat, x, atol=1e-5)
    assert float(y.square().sum()) == pytest.approx(float((x - 0.5).square().sum()), rel=1e-5)


def test_kernels_are_orthonormal_to_each_other_and_to_their_neighbours() -> None:
    for kernel in principal_components((12, 20, 30, 40)):
        overlaps = torch.nn.functional.conv2d(kernel, kernel, stride=2, padding=2)
        expected = torch.zeros_like(overlaps)
        expected[:, :, 1, 1] = torch.eye(len(kernel))
        assert torch.allclose(overlaps, expected, atol=1e-5)


def test_coarse_rounding_leaves_no_blocks() -> None:
    """Across the borders of 16x16 pixels a picture of few coefficients is as smooth as anywhere."""
    model = started((12, 48, 96), 192, step=0.5)
    x = smooth_picture(192)
    with torch.no_grad():
        y = model.g_a(x).round()
        decoded = model.g_s(y).c0[0].mean(0)[48:-48, 48:-48]
    assert 0 < float((y != 0).float().mean()) < 0.1
    steps = decoded.diff(dim=0).abs().mean(dim=1) + decoded.diff(dim=1).abs().mean(dim=0)
    at_borders = torch.arange(len(steps)) % 16 == 15
    assert float(steps[at_borders].mean()) < 1.3 * float(steps[~at_borders].mean())


def test_few_components_keep_most_of_a_smooth_picture_and_the_first_ones_most_of_all() -> None:
    model = started((24, 32, 48), 40)
    x = smooth_picture(192)
    with torch.no_grad():
        y = model.g_a(x)
        error = (model.g_s(y).c0 - x)[..., 48:-48, 48:-48].square().mean()
    assert float(error) < 0.01 * float(x.var())
    energy = y.square().mean(dim=(0, 2, 3))
    assert float(energy[:4].sum()) > 0.8 * float(energy.sum())
    assert float(energy[:8].sum()) > float(energy[8:].sum())


def test_latents_are_in_units_of_the_quantizer_step() -> None:
    x = smooth_picture()
    fine, coarse = started((12, 16, 24), 40, 0.1), started((12, 16, 24), 40, 0.4)
    with torch.no_grad():
        assert torch.allclose(fine.g_a(x), 4.0 * coarse.g_a(x), rtol=1e-4, atol=1e-4)
        assert torch.allclose(fine.g_s(fine.g_a(x)).c0, coarse.g_s(coarse.g_a(x)).c0, atol=1e-5)


def test_spare_channels_stay_random_and_everything_can_learn() -> None:
    model = started((20, 24, 32), 40)
    weight = model.g_a.body[0].get_parameter("weight")
    assert bool((weight[:12, :, 1:5, 1:5] != 0).all())
    assert not bool((weight[:12, :, 0] != 0).any())
    assert bool((weight[12:] != 0).all())
    x = smooth_picture()
    with torch.no_grad():
        before = model.g_s(model.g_a(x)).c0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(2):  # in the first step only the last layers of the residual units have a gradient
        optimizer.zero_grad()
        (model.g_s(model.g_a(x)).c0 - x).square().mean().backward()
        optimizer.step()
    for name, parameter in [*model.g_a.named_parameters(), *model.g_s.named_parameters()]:
        assert parameter.grad is not None, name
        assert bool((parameter.grad != 0).any()), name
    with torch.no_grad():
        after = model.g_s(model.g_a(x)).c0
    assert float((after - x).square().mean()) < float((before - x).square().mean())


def test_activations_in_between_are_refused() -> None:
    g_a, g_s = AnalysisTransform((12, 16, 24), 40, 0), SynthesisLadder(40, (12, 16, 24), 1)
    with pytest.raises(ValueError, match="residual units"):
        start_linearly(g_a, g_s, 1.0)


def test_the_step_of_the_quantizer_is_where_rate_and_distortion_balance() -> None:
    lmbda = 0.013
    step = quantizer_step(lmbda)

    def cost(d: float) -> float:  # of one coefficient of many: bits, and its part of the mean over three colours
        return -0.5 * math.log2(d) + lmbda * 255**2 * d / 3

    best = step**2 / 12
    assert cost(best) < min(cost(1.1 * best), cost(best / 1.1))
    slope = (cost(1.001 * best) - cost(best / 1.001)) / best
    assert slope == pytest.approx(0.0, abs=1e-3 / best)
