"""The network of the diffusion decoder, as an estimator of x."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_codec.bitstream.levels import LEVELS
from lightning_codec.diffusion.parameterization import Prediction, predicted_x
from lightning_codec.diffusion.schedule import BlurSchedule
from lightning_codec.diffusion.texture_map import MAP_BLOCK
from lightning_codec.diffusion.unet import UNet, UNetConfig


@dataclass(frozen=True)
class DenoiserConfig:
    """Everything that defines the diffusion decoder's network and process; it is stored in every checkpoint.

    Args:
        unet: size of the network.
        schedule: noise and blur over time.
        prediction: what the network's output is.
        texture_map: the network also sees how much texture is missing where (`texture_levels`), which files then say.
    """

    unet: UNetConfig = field(default_factory=UNetConfig)
    schedule: BlurSchedule = field(default_factory=BlurSchedule)
    prediction: Prediction = "x"
    texture_map: bool = False


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
        self.unet = UNet(config.unet, ladder_channels, (LEVELS + 1) * config.texture_map)

    def condition(self, ladder: Sequence[Tensor], levels: Tensor | None, known: Tensor | None = None) -> list[Tensor]:
        """What this network sees of an image: c_0 .. c_3 and, if it looks at one, the texture map.

        Args:
            ladder: c_0 .. c_3.
            levels: int64 [B, H/32, W/32], see `texture_levels`; None where the file does not say.
            known: bool [B], of which images they are shown; None for all.
        """
        if not self.config.texture_map:
            return list(ladder)
        height, width = (side // MAP_BLOCK for side in ladder[0].shape[-2:])
        unknown = torch.zeros(len(ladder[0]), height, width, dtype=torch.int64, device=ladder[0].device)
        if levels is None:
            return [*ladder, unknown]
        # A picture that was padded further has the texture of its border there.
        rows, columns = (torch.arange(n, device=levels.device) for n in (height, width))
        shown = 1 + levels[:, rows.clamp(max=levels.shape[1] - 1)][:, :, columns.clamp(max=levels.shape[2] - 1)]
        return [*ladder, shown if known is None else torch.where(known.to(shown.device)[:, None, None], shown, unknown)]

    def forward(self, z: Tensor, t: Tensor, condition: Sequence[Tensor]) -> Estimate:
        """One evaluation.

        Of c_0 only `smooth(c_0)` is used, as a condition and as what the network adds to.

        Args:
            z: as of `UNet.forward`.
            t: likewise.
            condition: see `condition`; images in [-1, 1].
        """
        c0, c1, c2, c3, *texture = condition
        base = smooth(c0)
        output = self.unet(z, t, [base, c1, c2, c3], *texture).float()
        if self.config.prediction == "x":
            output = base + output  # what the ladder has not already said
        return Estimate(output, predicted_x(self.config.prediction, output, z, t, self.config.schedule))


def smooth(x: Tensor) -> Tensor:
    """(1, 2, 1) / 4 along rows and columns, the border repeated: [B, C, H, W] -> the same.

    Zero for every pattern of period 2, which the upsampling of the ladder leaves in c_0.
    """
    return F.avg_pool2d(F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 2, stride=1), 2, stride=1)
