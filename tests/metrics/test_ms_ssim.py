import pytest
import torch
from torch.nn import functional as F
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from lightning_codec.images import to_uint8
from lightning_codec.metrics.ms_ssim import ms_ssim, ms_ssim_obstacle


def smooth_pair(height: int, width: int, images: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """A random image with large structures, and a noisy version of it."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(images, 3, 12, 12, generator=generator)
    x = F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (x + 0.08 * torch.randn(x.shape, generator=generator)).clamp(0, 1), x


def test_ms_ssim_equals_torchmetrics_channel_by_channel():
    x_hat, x = smooth_pair(256, 192)
    reference = [
        multiscale_structural_similarity_index_measure(
            to_uint8(x_hat[:, c : c + 1]).double(), to_uint8(x[:, c : c + 1]).double(), data_range=255.0
        ).item()
        for c in range(3)
    ]
    value = ms_ssim(x_hat, x)
    assert value is not None
    assert value.dtype == torch.float64
    assert 0.5 < value.item() < 0.99
    assert value.item() == pytest.approx(sum(reference) / 3, abs=2e-5)  # the window is normalised in float32


def test_ms_ssim_of_equal_images_is_one_and_sees_only_8_bits():
    _, x = smooth_pair(161, 161)
    x = to_uint8(x).float() / 255
    value = ms_ssim((x + 0.3 / 255).clamp(0, 1), x)
    assert value is not None
    assert value.item() == pytest.approx(1, abs=1e-7)


def test_ms_ssim_of_two_constant_images_is_the_luminance_term_alone():
    """Without structure every contrast term is 1: the luminance of the last scale stays."""
    a, b, c1 = 100.0, 140.0, (0.01 * 255) ** 2
    expected = ((2 * a * b + c1) / (a * a + b * b + c1)) ** 0.1333
    value = ms_ssim(torch.full((3, 176, 176), a / 255), torch.full((3, 176, 176), b / 255))
    assert value is not None
    assert value.item() == pytest.approx(expected, abs=5e-5)


def test_ms_ssim_is_computed_in_full_precision_under_autocast():
    x_hat, x = smooth_pair(176, 176)
    expected = ms_ssim(x_hat, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ms_ssim(x_hat, x)
    assert expected is not None
    assert inside is not None
    assert torch.equal(inside, expected)


@pytest.mark.parametrize(("height", "width", "applies"), [(160, 400, False), (400, 160, False), (161, 161, True)])
def test_ms_ssim_needs_both_sides_above_160(height, width, applies):
    x_hat, x = smooth_pair(height, width)
    assert (ms_ssim(x_hat, x) is not None) == applies
    obstacle = ms_ssim_obstacle(height, width)
    assert (obstacle is None) == applies
    if obstacle is not None:
        assert f"{height} x {width}" in obstacle


def test_contract_is_checked():
    with pytest.raises(ValueError, match=r"x_hat must have values in \[0, 1\]"):
        ms_ssim(torch.full((1, 3, 176, 176), -0.5), torch.zeros(1, 3, 176, 176))
