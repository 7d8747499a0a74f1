"""The image contract that every metric checks before it computes anything."""

import torch
from torch import Tensor

TOLERANCE = 1e-3  # a network's output may leave [0, 1] by rounding; a wrong range is off by far more


def check_images(x_hat: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Check two images against the contract "RGB, floating point, NCHW or CHW, values in [0, 1]".

    Args:
        x_hat: the decoded images, [N, 3, H, W] or [3, H, W].
        x: the originals, of the same shape.

    Returns:
        Both as [N, 3, H, W], values untouched.

    Raises:
        ValueError: unlike shapes, a wrong number of dimensions or channels, an integer dtype, a value that is
            not finite or lies outside [0, 1] by more than 1e-3 (an image in [-1, 1] or 0..255).
    """
    if x_hat.shape != x.shape:
        raise ValueError(f"two images of one shape are compared, not {tuple(x_hat.shape)} and {tuple(x.shape)}")
    return _check(x_hat, "x_hat"), _check(x, "x")


def _check(image: Tensor, name: str) -> Tensor:
    if image.dim() not in (3, 4) or image.shape[-3] != 3 or image.numel() == 0:
        raise ValueError(f"{name} must be RGB, [N, 3, H, W] or [3, H, W], not of shape {tuple(image.shape)}")
    if not image.is_floating_point():
        raise ValueError(f"{name} must be floating point with values in [0, 1], not {image.dtype}")
    low, high = (float(bound) for bound in torch.aminmax(image.detach()))
    # written so that a NaN fails it too
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
        raise ValueError(f"{name} must have values in [0, 1], but they lie in [{low:.4g}, {high:.4g}]")
    return image if image.dim() == 4 else image.unsqueeze(0)
