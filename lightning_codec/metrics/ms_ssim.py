"""Multi-scale SSIM of 8-bit RGB images (Wang, Simoncelli, Bovik: Multi-scale structural similarity, 2003).

Computed by pytorch-msssim, as CompressAI's published curves are: the product over scales for each channel, then
the mean over channels. torchmetrics averages the channels before the product and pads odd sizes otherwise; on a
photograph at low rate it differs by 0.002, and by 0.01 where a side is odd.
"""

import pytorch_msssim
import torch
from torch import Tensor

from lightning_codec.images import to_uint8
from lightning_codec.metrics.contract import check_images
from lightning_codec.metrics.protocol import Protocol

MS_SSIM_PROTOCOL = Protocol(
    "ms-ssim-rgb8-v1",
    "RGB rounded to 8 bit, 5 scales, 11-tap Gaussian (sigma 1.5), data range 255, mean over channels, "
    "per image, then the mean; images with a side of 160 pixels or less are counted apart",
)
SMALLEST_SIDE = 161  # four halvings must leave the 11 taps of the window: (11 - 1) * 2^4 < side


def ms_ssim_obstacle(height: int, width: int) -> str | None:
    """Say why MS-SSIM does not apply to an image of this size in pixels; None where it does."""
    if min(height, width) >= SMALLEST_SIDE:
        return None
    return f"not applicable: both sides must exceed {SMALLEST_SIDE - 1} pixels, the image is {height} x {width}"


def ms_ssim(x_hat: Tensor, x: Tensor) -> Tensor | None:
    """MS-SSIM of each image after rounding to 8 bit.

    Args:
        x_hat: the decoded images, [N, 3, H, W] or [3, H, W], float in [0, 1].
        x: the originals, of the same shape and range.

    Returns:
        Values in [0, 1] as float64 on the CPU, [N]; None where the size is too small (see
        `ms_ssim_obstacle`).

    Raises:
        ValueError: an image breaks the contract (see `check_images`).
    """
    x_hat, x = check_images(x_hat, x)
    if ms_ssim_obstacle(x.shape[-2], x.shape[-1]) is not None:
        return None
    # squares of up to 255^2 are subtracted: TF32 on a GPU, or an autocast, would leave no correct digit
    dtype = torch.float64 if x.device.type == "cuda" else torch.float32
    with torch.autocast(x.device.type, enabled=False):
        values: Tensor = pytorch_msssim.ms_ssim(
            to_uint8(x_hat).to(dtype), to_uint8(x).to(dtype), data_range=255.0, size_average=False
        )
    return values.cpu().double()
