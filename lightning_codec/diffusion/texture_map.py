"""How much fine texture a file has lost, place by place: what the encoder can tell a diffusion decoder to draw.

The latents alone do not say whether a surface was smooth or is smooth for want of bits. A decoder that cannot know
draws the average grain on both.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_codec.bitstream.levels import LEVELS
from lightning_codec.diffusion.texture import BLOCK, FLOORS, band_energies

MAP_BLOCK = 2 * BLOCK  # pixels along the side of what has one level


def texture_levels(x: Tensor, x_c: Tensor) -> Tensor:
    """The levels of missing texture: int64 [B, H/32, W/32], each in [0, LEVELS).

    Of ln(E(x) / E(x_c)), the energies of brightness in blocks of 32 x 32 pixels, the mean over all bands but the
    lowest (`band_energies`), rounded; 0 for nothing or too much in x_c.

    Args:
        x: originals [B, 3, H, W] in [-1, 1], H and W multiples of 32.
        x_c: their distortion-oriented pictures, of the same shape.
    """
    with torch.autocast(x.device.type, enabled=False):
        there, wanted = (_energies(picture.detach().float().clamp(-1.0, 1.0)) for picture in (x_c, x))
    missing = (wanted / there).log().mean(1)
    return missing.round().clamp(0, LEVELS - 1).long()


def _energies(x: Tensor) -> Tensor:
    """[B, bands but the lowest, H/32, W/32], none below what can be seen."""
    return F.avg_pool2d(band_energies(x)[:, 0, 1:], 2) + FLOORS[0]
