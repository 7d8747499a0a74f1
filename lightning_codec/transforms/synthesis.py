"""The synthesis ladder g_s: latents to the distortion-oriented image, with a feature map at every resolution."""

from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn

from lightning_codec.transforms.layers import res_units, upsample


class Ladder(NamedTuple):
    """The rungs c_3 .. c_0 (paper, Fig. 1b); the diffusion decoder is conditioned on all four."""

    c3: Tensor
    """[B, N3, H/8, W/8]"""
    c2: Tensor
    """[B, N2, H/4, W/4]"""
    c1: Tensor
    """[B, N1, H/2, W/2]"""
    c0: Tensor
    """[B, 3, H, W]: x_c, the distortion-oriented image, about [0, 1], not clamped"""


class SynthesisLadder(nn.Module):
    """g_s: c_4 = y_hat, c_i = TConv(4, 2, 1)([ResUnit]*r (c_{i+1})) for i = 3..0.

    The last rung is trained to be the MSE reconstruction, so the ladder alone is a complete decoder.

    Args:
        latent_channels: M.
        channels: (N1, N2, N3), as in g_a.
        units: r >= 1, residual units before each upsampling.
    """

    def __init__(self, latent_channels: int, channels: tuple[int, int, int], units: int) -> None:
        super().__init__()
        n1, n2, n3 = channels
        widths = (latent_channels, n3, n2, n1, 3)
        self.rungs = nn.ModuleList(
            nn.Sequential(res_units(c_in, units), upsample(c_in, c_out)) for c_in, c_out in pairwise(widths)
        )

    def forward(self, y_hat: Tensor) -> Ladder:
        """y_hat [B, M, H/16, W/16] -> the four rungs."""
        features = []
        c = y_hat
        for rung in self.rungs:
            c = rung(c)
            features.append(c)
        c3, c2, c1, c0 = features
        # +0.5 undoes the centring of g_a.
        return Ladder(c3, c2, c1, c0 + 0.5)
