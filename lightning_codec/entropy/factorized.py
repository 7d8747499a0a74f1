"""The factorised prior of the hyper-latents z."""

import copy

import numpy as np
import torch
from compressai.entropy_models import EntropyBottleneck
from torch import Tensor, nn

from lightning_codec.entropy.gaussian import TAIL_MASS, Pmf

_FIRST_REACH = 32
_MAX_REACH = 1 << 14


class _Density(EntropyBottleneck):  # type: ignore[misc] # untyped
    """CompressAI's density, taken at the very values that it is given."""

    def quantize(self, inputs: Tensor, mode: str, means: Tensor | None = None) -> Tensor:
        """Leave the values alone: rounding and noise are the caller's."""
        return inputs


class FactorizedPrior(nn.Module):
    """A learned univariate density per channel (Ballé et al., 2018), by CompressAI's `EntropyBottleneck`.

    The symbol is round(z): medians stay 0, because h_a's bias can shift z by itself. So there are no quantiles to
    train, no auxiliary loss, and no tables in the state dict; `pmfs` finds the support of each channel in closed form.

    Args:
        channels: N_z.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bottleneck = _Density(channels)
        self.bottleneck.quantiles.requires_grad_(False)

    def forward(self, z: Tensor, noise: Tensor | None = None) -> Tensor:
        """Likelihoods of z + noise, or of round(z) without: [B, N_z, h, w], float32, >= 1e-9."""
        with torch.autocast(z.device.type, enabled=False):
            _, likelihoods = self.bottleneck(torch.round(z.float()) if noise is None else z.float() + noise)
        result: Tensor = likelihoods
        return result

    @torch.no_grad()
    def pmfs(self) -> list[Pmf]:
        """The probabilities of the integers, one pmf per channel, evaluated in float64.

        The support of a channel is the shortest run around its mass that leaves at most 2^-17 outside, half of it
        on either side.

        Raises:
            ValueError: a density is so wide or so far away that no table of 2^15 entries holds it.
        """
        density = copy.deepcopy(self.bottleneck).cpu().double()
        reach = _FIRST_REACH
        while reach <= _MAX_REACH:
            grid = torch.arange(-reach, reach + 1, dtype=torch.float64).expand(1, density.channels, -1)
            probabilities = density(grid)[1][0].numpy()
            # The lower bound of the likelihood is no probability.
            probabilities = np.where(probabilities > 1e-9, probabilities, 0.0)
            pmfs = [_trim(p, -reach) for p in probabilities]
            if max(pmf.tail for pmf in pmfs) <= TAIL_MASS:  # what lies beyond the grid is in it
                return pmfs
            reach *= 2
        raise ValueError(f"the prior of z is wider than {_MAX_REACH}: the model has diverged")


def _trim(probabilities: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", offset: int) -> Pmf:
    """Cut both ends by at most half of the tail mass each."""
    first = int(np.searchsorted(np.cumsum(probabilities), TAIL_MASS / 2))
    last = len(probabilities) - 1 - int(np.searchsorted(np.cumsum(probabilities[::-1]), TAIL_MASS / 2))
    kept = probabilities[first : last + 1]
    return Pmf(kept, max(0.0, 1.0 - float(kept.sum())), offset + first)
