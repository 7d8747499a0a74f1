"""The network of the diffusion decoder, as an estimator of x."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_codec.diffusion.parameterization import Prediction, predicted_x
from lightning_codec.diffusion.schedule import BlurSchedule
from lightning_codec.diffusion.unet import UNet, UNetConfig


@dataclass(frozen=True)
class DenoiserConfig:
    """Everything that defines the diffusion decoder's network and process; it is stored in every checkpoint.

    Args:
        unet: size of the network.
        schedule: noise and blur over time.
        prediction: what the network's output is.
    """

    unet: UNetConfig = field(default_factory=UNetConfig)
    schedule: BlurSchedule = field(default_factory=BlurSchedule)
    prediction: Prediction = "x"


class Estimate(NamedTuple):
    """One evaluation of the network."""

    output: Tensor
    """what was predicted, [B, 3, H, W]"""
    x_hat: Tensor
    """the estimate of x that follows from it, [B, 3, H, W]"""


class Denoiser(nn.Module):
    """phi_theta(z_t, t, c): the U-Net, and what its output says about x.

    Args:
        config: settings.
        ladder_channels: widths of (c_1, c_2, c_3).
    """

    def __init__(self, config: DenoiserConfig, ladder_channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.config = config
        self.unet = UNet(config.unet, ladder_channels)

    def forward(self, z: Tensor, t: Tensor, ladder: Sequence[Tensor]) -> Estimate:
        """One evaluation; arguments as those of `UNet.forward`, images in [-1, 1].

        Of c_0 only `smooth(c_0)` is used, as a condition and as what the network adds to.
        """
        base = smooth(ladder[0])
        output = self.unet(z, t, [base, *ladder[1:]]).float()
        if self.config.prediction == "x":
            output = base + output  # what the ladder has not already said
        return Estimate(output, predicted_x(self.config.prediction, output, z, t, self.config.schedule))


def smooth(x: Tensor) -> Tensor:
    """(1, 2, 1) / 4 along rows and columns, the border repeated: [B, C, H, W] -> the same.

    Zero for every pattern of period 2, which the upsampling of the ladder leaves in c_0.
    """
    return F.avg_pool2d(F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 2, stride=1), 2, stride=1)
