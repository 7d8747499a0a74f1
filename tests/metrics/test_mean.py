import math

import pytest
import torch

from lightning_codec.metrics.mean import ImageMean
from lightning_codec.metrics.ms_ssim import ms_ssim
from lightning_codec.metrics.suite import ImageMetric, image_suite

(PSNR,) = image_suite(["psnr"]).metrics
(MS_SSIM,) = image_suite(["ms_ssim"]).metrics


def grey(level: float, side: int = 8) -> torch.Tensor:
    return torch.full((1, 3, side, side), level / 255)


def noisy(height: int, width: int, images: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(images, 3, height, width, generator=generator)
    return (x + 0.08 * torch.randn(x.shape, generator=generator)).clamp(0, 1), x


def test_mean_is_over_images_not_over_pooled_errors():
    metric = ImageMean(PSNR)
    metric.update(grey(1, side=4), grey(0, side=4))
    metric.update(grey(50, side=16), grey(0, side=16))
    result = metric.compute()
    assert result.mean == pytest.approx((20 * math.log10(255) + 20 * math.log10(255 / 50)) / 2, abs=1e-12)
    pooled = 10 * math.log10(255**2 / ((16 * 1 + 256 * 2500) / 272))
    assert result.mean is not None
    assert result.mean > pooled + 10
    assert (result.images, result.not_applicable) == (2, 0)


def test_mean_counts_identical_images_apart_and_is_absent_without_any_other():
    metric = ImageMean(PSNR)
    metric.update(grey(7), grey(7))
    assert metric.compute() == (None, 0, 1)
    metric.update(grey(7), grey(8))
    result = metric.compute()
    assert result.mean == pytest.approx(20 * math.log10(255))
    assert (result.images, result.not_applicable) == (1, 1)


def test_mean_counts_small_images_apart_and_takes_batches_of_any_size():
    metric = ImageMean(MS_SSIM)
    metric.update(*noisy(64, 64, images=2))
    assert metric.compute() == (None, 0, 2)
    first, second = noisy(176, 200), noisy(161, 161, images=2)
    metric.update(first[0][0], first[1][0])
    metric.update(*second)
    a, b = ms_ssim(*first), ms_ssim(*second)
    assert a is not None
    assert b is not None
    result = metric.compute()
    assert result.mean == pytest.approx(math.fsum([*a.tolist(), *b.tolist()]) / 3, abs=1e-12)
    assert (result.images, result.not_applicable) == (3, 2)


@pytest.mark.filterwarnings("ignore:.*before the ``update`` method.*")
def test_sums_of_two_processes_give_the_mean_of_all_images():
    """As a reduction over processes does: the states are added."""
    halves = [ImageMean(PSNR), ImageMean(PSNR)]
    for level, metric in zip((1, 2, 5, 9), (halves[0], halves[0], halves[0], halves[1]), strict=True):
        metric.update(grey(level), grey(0))
    assert all(reduction is not None for reduction in halves[0]._reductions.values())
    merged = ImageMean(PSNR)
    for state in ("total", "images", "not_applicable"):
        setattr(merged, state, getattr(halves[0], state) + getattr(halves[1], state))
    expected = sum(20 * math.log10(255 / level) for level in (1, 2, 5, 9)) / 4
    assert merged.compute().mean == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("ignore:.*before the ``update`` method.*")
def test_the_sums_are_in_float64_and_reset():
    metric = ImageMean(MS_SSIM)
    assert metric.total.dtype == torch.float64
    metric.update(*noisy(176, 176))
    metric.reset()
    assert metric.compute() == (None, 0, 0)


@pytest.mark.parametrize("metric", [PSNR, MS_SSIM])
def test_contract_is_checked(metric: ImageMetric):
    with pytest.raises(ValueError, match=r"x_hat must have values in \[0, 1\]"):
        ImageMean(metric).update(grey(-255, side=176), grey(0, side=176))
