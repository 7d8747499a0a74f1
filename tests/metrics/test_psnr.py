import math

import pytest
import torch

from lightning_codec.metrics.psnr import psnr, psnr_of_uint8


def grey(level: float, side: int = 8) -> torch.Tensor:
    return torch.full((1, 3, side, side), level / 255)


@pytest.mark.parametrize("offset", [1, 3, 20, 255])
def test_psnr_of_a_constant_offset_is_20_log10_of_255_over_it(offset):
    assert psnr(grey(0), grey(offset)).item() == pytest.approx(20 * math.log10(255 / offset), abs=1e-12)


def test_psnr_of_one_wrong_value_counts_all_three_channels():
    x = grey(100)
    x_hat = x.clone()
    x_hat[0, 1, 2, 3] = 110 / 255
    assert psnr(x_hat, x).item() == pytest.approx(10 * math.log10(255**2 / (100 / (3 * 64))), abs=1e-12)


def test_psnr_is_taken_after_rounding_to_8_bit():
    x = grey(100)
    assert psnr(x + 0.4 / 255, x).item() == math.inf
    assert psnr(x + 0.6 / 255, x).item() == pytest.approx(20 * math.log10(255), abs=1e-12)
    # the original is rounded too
    assert psnr(x + 0.6 / 255, x + 0.7 / 255).item() == math.inf


def test_psnr_treats_each_image_of_a_batch_alone_and_takes_a_single_one():
    x_hat, x = torch.cat([grey(1), grey(10)]), torch.cat([grey(0), grey(0)])
    values = psnr(x_hat, x)
    assert values.dtype == torch.float64
    assert values.tolist() == pytest.approx([20 * math.log10(255), 20 * math.log10(25.5)], abs=1e-12)
    assert torch.equal(psnr(x_hat[1], x[1]), values[1:])


def test_psnr_of_a_large_image_is_exact():
    """Float32 sums of this many squares would be off in the seventh digit."""
    x = torch.zeros(1, 3, 2000, 2000, dtype=torch.uint8)
    x_hat = torch.full_like(x, 255)
    x_hat[..., 0, 0] = 254
    mse = 255**2 - (255**2 - 254**2) / 4_000_000
    assert psnr_of_uint8(x_hat, x).item() == pytest.approx(10 * math.log10(255**2 / mse), rel=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        torch.full((1, 3, 4, 4), -1.0),
        torch.full((1, 3, 4, 4), 255.0),
        torch.full((1, 3, 4, 4), math.nan),
        torch.full((1, 3, 4, 4), 0.5).to(torch.float64).mul(255).to(torch.uint8),
        torch.full((1, 1, 4, 4), 0.5),
        torch.full((3, 4), 0.5),
        torch.empty((0, 3, 4, 4)),
    ],
    ids=["minus one", "0 to 255", "nan", "uint8", "grey", "two dimensions", "empty"],
)
def test_contract_is_checked_on_both_images(wrong):
    with pytest.raises(ValueError, match=r"x_hat must .*(in \[0, 1\]|RGB)"):
        psnr(wrong, torch.full(wrong.shape, 0.5))
    with pytest.raises(ValueError, match=r"x must|x_hat must"):
        psnr(torch.full(wrong.shape, 0.5), wrong)


def test_contract_allows_for_rounding_and_refuses_unlike_shapes():
    assert psnr(grey(255) + 5e-4, grey(255)).item() == math.inf
    with pytest.raises(ValueError, match="one shape"):
        psnr(grey(0, side=4), grey(0, side=5))
