"""The hyper transforms h_a and h_s: side information about the latents.

They live here and not with the image transforms because h_s decides probabilities.
"""

from torch import nn


def hyper_analysis(latent_channels: int, hyper_channels: int) -> nn.Sequential:
    """h_a: y [B, M, h, w] -> z [B, N_z, h/4, w/4]; no final activation."""
    N = hyper_channels
    return nn.Sequential(
        nn.Conv2d(latent_channels, N, kernel_size=3, padding=1),
        nn.GELU(),
        nn.Conv2d(N, N, kernel_size=5, stride=2, padding=2),
        nn.GELU(),
        nn.Conv2d(N, N, kernel_size=5, stride=2, padding=2),
    )


def hyper_synthesis(hyper_channels: int) -> nn.Sequential:
    """h_s: z_hat [B, N_z, h/4, w/4] -> psi [B, 2 N_h, h, w]."""
    N = hyper_channels
    return nn.Sequential(
        nn.ConvTranspose2d(N, N, kernel_size=5, stride=2, padding=2, output_padding=1),
        nn.GELU(),
        nn.ConvTranspose2d(N, N, kernel_size=5, stride=2, padding=2, output_padding=1),
        nn.GELU(),
        nn.Conv2d(N, 2 * N, kernel_size=3, padding=1),
    )
