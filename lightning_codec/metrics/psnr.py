"""PSNR of 8-bit RGB images: per image, then the mean over the images, never over pooled squared errors."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_codec.images import to_uint8
from lightning_codec.metrics.contract import check_images

PSNR_PROTOCOL = "dB on RGB rounded to 8 bit, per image, then the mean; images without any error are counted apart"


def psnr(x_hat: Tensor, x: Tensor) -> Tensor:
    """PSNR of each image, 10 log10(255^2 / MSE) over the 3 H W values after rounding both to 8 bit.

    Args:
        x_hat: the decoded images, [N, 3, H, W] or [3, H, W], float in [0, 1].
        x: the originals, of the same shape and range.

    Returns:
        dB as float64, [N]; `inf` where the two images are equal after rounding.

    Raises:
        ValueError: an image breaks the contract (see `check_images`).
    """
    x_hat, x = check_images(x_hat, x)
    return psnr_of_uint8(to_uint8(x_hat), to_uint8(x))


def psnr_of_uint8(x_hat: Tensor, x: Tensor) -> Tensor:
    """PSNR in dB of each image of two uint8 batches [N, ...]: float64, [N], `inf` for equal images.

    The squared error is summed in integers, so the result is exact and the same on every device.
    """
    difference = (x_hat.to(torch.int32) - x.to(torch.int32)).flatten(1)
    squared_error = difference.square().sum(1, dtype=torch.int64).cpu().double()
    return 10 * torch.log10(255.0**2 * difference.shape[1] / squared_error)


class MeanPSNR(NamedTuple):
    """The mean PSNR of a set of images, and the counts it rests on."""

    mean: float | None
    """dB over the `images` with an error; None when there is none."""
    images: int
    identical: int
    """Images without any error after rounding: their PSNR is infinite, so they are not averaged."""


class PerImagePSNR(Metric):
    """Mean of the per-image PSNR (see `psnr`) as float64 running sums: any sizes may be mixed.

    `update(x_hat, x)` takes [N, 3, H, W] or [3, H, W] in [0, 1]; `compute()` returns a `MeanPSNR`.
    """

    full_state_update = False
    total: Tensor
    images: Tensor
    identical: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("identical", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, x_hat: Tensor, x: Tensor) -> None:
        """Add images. Raises ValueError when one breaks the contract."""
        values = psnr(x_hat, x).to(self.total.device)
        finite = values.isfinite()
        self.total += values[finite].sum()
        self.images += finite.sum()
        self.identical += (~finite).sum()

    def compute(self) -> MeanPSNR:
        """Return the mean over the images added so far, with its counts."""
        images = int(self.images)
        return MeanPSNR(float(self.total) / images if images else None, images, int(self.identical))
