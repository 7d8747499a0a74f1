"""The knob: exact ends, and a monotone path between them."""

import pytest
import torch

from lightning_codec.diffusion.dct import dct2, frequencies
from lightning_codec.diffusion.perception import blend, check_perception, mute_chroma, noise_scale
from lightning_codec.errors import UserError


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(1, 3, 16, 24, dtype=torch.float64), torch.rand(1, 3, 16, 24, dtype=torch.float64)


def test_the_ends_are_the_two_images_to_the_bit(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    x_c, x_d = pair
    assert torch.equal(blend(x_c, torch.nan * x_d, 0.0), x_c)  # the other image is not even looked at
    assert torch.equal(blend(torch.nan * x_c, x_d, 1.0), x_d)


def test_every_frequency_moves_with_the_knob_and_high_ones_lead(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    x_c, x_d = pair
    lam = frequencies(16, 24, x_c).squared
    paths = torch.stack([dct2(blend(x_c, x_d, p) - x_c) / dct2(x_d - x_c) for p in (0.0, 0.1, 0.3, 0.5, 0.8, 1.0)])
    kappa = paths[:, 0, 0]
    assert torch.allclose(paths, kappa[:, None, None].expand_as(paths), atol=1e-8)  # alike in all channels
    assert bool((kappa.diff(dim=0) > 0).all())
    assert bool((kappa[3].flatten()[lam.flatten().argsort()].diff() >= -1e-9).all())
    assert float(kappa[3, 0, 0]) == pytest.approx(0.25)
    assert float(kappa[3, -1, -1]) == pytest.approx(0.5, abs=1e-6)


def test_distortion_adds_over_frequencies(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """For a posterior mean x_c: MSE = D_mmse + mean kappa^2 |u_d - u_c|^2."""
    x_c, x_d = pair
    moved = blend(x_c, x_d, 0.5)
    kappa = dct2(moved - x_c) / dct2(x_d - x_c)
    expected = (kappa.square() * dct2(x_d - x_c).square()).mean()
    assert float((moved - x_c).square().mean()) == pytest.approx(float(expected), rel=1e-9)
    assert float(expected) < 0.25 * float((x_d - x_c).square().mean())


@pytest.mark.parametrize("chroma", [0.0, 0.4])
def test_luminance_is_the_decoders_and_its_change_of_colour_is_muted(
    pair: tuple[torch.Tensor, torch.Tensor], chroma: float
) -> None:
    x_c, x_d = pair
    muted = mute_chroma(x_c, x_d, chroma)
    red, green, blue = 0.299, 0.587, 0.114  # BT.601

    def parts(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        luminance = (red * x[:, 0] + green * x[:, 1] + blue * x[:, 2])[:, None]
        return luminance, x - luminance

    assert torch.allclose(parts(muted)[0], parts(x_d)[0], atol=1e-12)
    expected = (1.0 - chroma) * parts(x_c)[1] + chroma * parts(x_d)[1]
    assert torch.allclose(parts(muted)[1], expected, atol=1e-12)
    assert torch.equal(mute_chroma(torch.nan * x_c, x_d, 1.0), x_d)


def test_the_noise_of_the_start_grows_from_none_to_that_of_the_settings() -> None:
    assert [noise_scale(p, 0.8) for p in (0.0, 0.5, 1.0)] == [0.0, 0.4, 0.8]


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_values_outside_are_refused(value: float) -> None:
    with pytest.raises(UserError, match=r"must lie in \[0, 1\]"):
        check_perception(value)
    assert check_perception(0.5) == 0.5
