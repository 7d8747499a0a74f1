"""The convolutions of the transforms."""

from torch import Tensor, nn


def downsample(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Conv5s2: kernel 5, stride 2, [B, in, H, W] -> [B, out, H/2, W/2]."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=5, stride=2, padding=2)


def upsample(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """TConv(4, 2, 1): kernel 4, stride 2, [B, in, H, W] -> [B, out, 2H, 2W].

    A kernel that is a multiple of the stride gives every output pixel the same number of taps: no checkerboard pattern.
    """
    return nn.ConvTranspose2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1)


class ResUnit(nn.Module):
    """Residual bottleneck: x + Conv1(GELU(Conv3(GELU(Conv1(x))))), the inner width half the outer one.

    Shapes: [B, channels, H, W] -> the same. Source: ELIC (He et al., CVPR 2022), with GELU.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.body = nn.Sequential(
            nn.Conv2d(channels, inner, kernel_size=1),
            nn.GELU(),
            nn.Conv2d(inner, inner, kernel_size=3, padding=1),
            nn.GELU(),
            nn.Conv2d(inner, channels, kernel_size=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] -> [B, channels, H, W]; never in place."""
        residual: Tensor = self.body(x)
        return x + residual


def res_units(channels: int, count: int) -> nn.Sequential:
    """`count` residual units in a row; the identity for 0."""
    return nn.Sequential(*(ResUnit(channels) for _ in range(count)))
