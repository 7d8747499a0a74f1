"""The image contract that every metric checks before it computes anything."""

from torch import Tensor

from lightning_codec.images import check_image


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
    return check_image(x_hat, "x_hat"), check_image(x, "x")
