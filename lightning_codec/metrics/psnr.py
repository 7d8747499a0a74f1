"""PSNR of 8-bit RGB images: per image, then the mean over the images, never over pooled squared errors."""

import torch
from torch import Tensor

from lightning_codec.images import to_uint8
from lightning_codec.metrics.contract import check_images
from lightning_codec.metrics.protocol import Protocol

PSNR_PROTOCOL = Protocol(
    "psnr-rgb8-v1", "dB on RGB rounded to 8 bit, per image, then the mean; images without any error are counted apart"
)


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
