"""The analysis transform g_a: image to latents."""

from torch import Tensor, nn

from lightning_codec.transforms.layers import downsample, res_units


class AnalysisTransform(nn.Module):
    """g_a: four strided convolutions, residual units between them.

        x (3, H, W) ─► Conv5s2 [ResUnit]*r ─► (N1, H/2, W/2)
                    ─► Conv5s2 [ResUnit]*r ─► (N2, H/4, W/4)
                    ─► Conv5s2 [ResUnit]*r ─► (N3, H/8, W/8)
                    ─► Conv5s2             ─► y (M, H/16, W/16)

    Where there are residual units nothing else is between the convolutions (ELIC, He et al., CVPR 2022), so a linear
    path leads from the image to the latents, as it does back through g_s; otherwise a GELU is.

    Args:
        channels: (N1, N2, N3).
        latent_channels: M.
        units: r, residual units after each of the first three stages.
    """

    def __init__(self, channels: tuple[int, int, int], latent_channels: int, units: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out in zip((3, *channels[:2]), channels, strict=True):
            layers += [downsample(c_in, c_out), res_units(c_out, units) if units else nn.GELU()]
        layers.append(downsample(channels[2], latent_channels))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, 3, H, W] in [0, 1], H and W multiples of 16 -> y [B, M, H/16, W/16].

        The image is centred first, so that the zero padding of the convolutions is mid-grey rather than black.
        """
        y: Tensor = self.body(x - 0.5)
        return y
