"""The knob between the distortion-oriented and the realistic image of one file."""

import torch
from torch import Tensor

from lightning_codec.diffusion.dct import dct2, frequencies, idct2
from lightning_codec.errors import UserError
from lightning_codec.images import LUMA

# Above this angular frequency (rad/pixel) texture follows the knob at once, below it lags behind.
CORNER = 0.5


def check_perception(perception: float) -> float:
    """The value itself.

    Raises:
        UserError: it is outside [0, 1].
    """
    if not 0.0 <= perception <= 1.0:
        raise UserError(
            f"perception is {perception}: it must lie in [0, 1], 0 for least distortion, 1 for most realism"
        )
    return perception


def noise_scale(perception: float, gamma: float) -> float:
    """Scale of the start's noise, gamma P: no texture at P = 0, that of the settings at P = 1.

    For a Gaussian posterior and a deterministic sampler x_d has the error (1 + (gamma P)^2) D_mmse and (gamma P)^2 of
    the posterior's variance.

    Args:
        perception: P in [0, 1].
        gamma: the scale at P = 1.
    """
    return gamma * perception


def blend(x_c: Tensor, x_d: Tensor, perception: float) -> Tensor:
    """x_c + kappa (x_d - x_c) with kappa(lambda) = P^(1 + exp(-lambda / (2 corner^2))): P at high ones, P^2 at low.

    For a posterior mean x_c the line to a posterior sample is the optimal one of the distortion-perception plane
    (Freirich et al., NeurIPS 2021), frequency by frequency, as the DCT is orthonormal. Texture is worth its distortion
    sooner at high frequencies.

    Args:
        x_c: distortion-oriented images [B, 3, H, W].
        x_d: those of the diffusion decoder.
        perception: P in [0, 1]; 0 gives x_c and 1 gives x_d, both to the bit.
    """
    if perception == 0.0:
        return x_c
    if perception == 1.0:
        return x_d
    lam = frequencies(x_c.shape[-2], x_c.shape[-1], x_c)
    lag = torch.exp(-lam.rows / (2.0 * CORNER**2)) * torch.exp(-lam.columns / (2.0 * CORNER**2))
    return x_c + idct2(perception ** (1.0 + lag) * dct2(x_d - x_c))


def mute_chroma(x_c: Tensor, x_d: Tensor, chroma: float) -> Tensor:
    """x_d with its own luminance (BT.601), and of its change of the colour differences against x_c a share.

    Fine colour that is invented is seen as speckles sooner than its lack is, which x_c has, and pictures whose files
    keep colour at half the resolution have little of it: a decoder may add three times what they have.

    Args:
        x_c: distortion-oriented images [B, 3, H, W].
        x_d: those of the diffusion decoder.
        chroma: the share, in [0, 1]; 1 gives x_d to the bit.
    """
    if chroma == 1.0:
        return x_d
    change = x_d - x_c
    luminance = torch.einsum("c,bchw->bhw", change.new_tensor(LUMA), change)[:, None]
    return x_c + luminance + chroma * (change - luminance)
