"""Padding to the stride of the codec and back: any image size from 1x1 up."""

import torch.nn.functional as F
from torch import Tensor

# 16 (g_a) x 4 (h_a); it also covers the 32 of the diffusion decoder's U-Net.
CODEC_STRIDE = 64


def padded_size(height: int, width: int, multiple: int = CODEC_STRIDE) -> tuple[int, int]:
    """The smallest (H, W) that are multiples of `multiple` and at least (height, width), in pixels."""
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def pad_to_multiple(x: Tensor, multiple: int = CODEC_STRIDE) -> Tensor:
    """Pad bottom and right by repeating the last row and column.

    Replication rather than reflection, because reflection fails when the pad exceeds the image.

    Args:
        x: [B, C, H0, W0].
        multiple: what H and W become multiples of.

    Returns:
        [B, C, H, W]; `x` itself where nothing is missing.
    """
    height, width = x.shape[-2:]
    H, W = padded_size(height, width, multiple)
    if (height, width) == (H, W):
        return x
    return F.pad(x, (0, W - width, 0, H - height), mode="replicate")


def crop_to(x: Tensor, height: int, width: int) -> Tensor:
    """Undo `pad_to_multiple`: [B, C, H, W] -> [B, C, height, width]."""
    return x[..., :height, :width]
