"""The factorised prior of the hyper-latents z."""

import copy
import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_codec.entropy.bounds import lower_bound
from lightning_codec.entropy.gaussian import LIKELIHOOD_MIN, TAIL_MASS, Pmf

# Widths of the cumulative's layers, and the scale of the density at the start.
WIDTHS = (1, 3, 3, 3, 3, 1)
INIT_SCALE = 10.0

_FIRST_REACH = 32
_MAX_REACH = 1 << 14


class FactorizedPrior(nn.Module):
    """A learned univariate density per channel (Ballé et al., ICLR 2018, appendix 6.1).

    Its cumulative c is a small network that can only rise: layers x -> h + tanh(a) tanh(h), h = softplus(H) x + b, the
    last without the second term, and a sigmoid; the likelihood is c(z + 1/2) - c(z - 1/2), at least 1e-9.

    The symbol is round(z): there is no median to be learned beside it, because h_a's bias can shift z by itself. So
    there is no auxiliary loss, and no table in the state dict; `pmfs` finds the support of each channel in closed form.

    Args:
        channels: N_z.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        layers = [*pairwise(WIDTHS)]
        scale = INIT_SCALE ** (1 / len(layers))
        start = [math.log(math.expm1(1 / scale / wide)) for _, wide in layers]
        self.matrices = nn.ParameterList(
            torch.full((channels, wide, narrow), value) for (narrow, wide), value in zip(layers, start, strict=True)
        )
        self.biases = nn.ParameterList(torch.empty(channels, wide, 1).uniform_(-0.5, 0.5) for _, wide in layers)
        self.factors = nn.ParameterList(torch.zeros(channels, wide, 1) for _, wide in layers[:-1])

    def forward(self, z: Tensor, noise: Tensor | None = None) -> Tensor:
        """Likelihoods of z + noise, or of round(z) without: [B, N_z, h, w], float32, >= 1e-9."""
        with torch.autocast(z.device.type, enabled=False):
            values = torch.round(z.float()) if noise is None else z.float() + noise
            by_channel = values.transpose(0, 1)
            likelihoods = self._likelihoods(by_channel.flatten(1)[:, None])
        return likelihoods.reshape(by_channel.shape).transpose(0, 1).contiguous()

    @torch.no_grad()
    def pmfs(self) -> list[Pmf]:
        """The probabilities of the integers, one pmf per channel, evaluated in float64.

        The support of a channel is the shortest run around its mass that leaves at most 2^-17 outside, half of it
        on either side.

        Raises:
            ValueError: a density is so wide or so far away that no table of 2^15 entries holds it.
        """
        density = copy.deepcopy(self).cpu().double()
        reach = _FIRST_REACH
        while reach <= _MAX_REACH:
            grid = torch.arange(-reach, reach + 1, dtype=torch.float64).expand(self.channels, 1, -1)
            probabilities = density._likelihoods(grid)[:, 0].numpy()
            # The lower bound of the likelihood is no probability.
            probabilities = np.where(probabilities > LIKELIHOOD_MIN, probabilities, 0.0)
            pmfs = [_trim(p, -reach) for p in probabilities]
            if max(pmf.tail for pmf in pmfs) <= TAIL_MASS:  # what lies beyond the grid is in it
                return pmfs
            reach *= 2
        raise ValueError(f"the prior of z is wider than {_MAX_REACH}: the model has diverged")

    def _likelihoods(self, values: Tensor) -> Tensor:
        """[N_z, 1, n] to the same shape, in the type of the weights."""
        mass = torch.sigmoid(self._logits(values + 0.5)) - torch.sigmoid(self._logits(values - 0.5))
        return lower_bound(mass, LIKELIHOOD_MIN)

    def _logits(self, x: Tensor) -> Tensor:
        """Of the cumulative: [N_z, 1, n] to the same shape."""
        for matrix, bias, factor in zip(self.matrices, self.biases, [*self.factors, None], strict=True):
            x = F.softplus(matrix) @ x + bias
            if factor is not None:
                x = x + torch.tanh(factor) * torch.tanh(x)
        return x


def _trim(probabilities: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", offset: int) -> Pmf:
    """Cut both ends by at most half of the tail mass each."""
    first = int(np.searchsorted(np.cumsum(probabilities), TAIL_MASS / 2))
    last = len(probabilities) - 1 - int(np.searchsorted(np.cumsum(probabilities[::-1]), TAIL_MASS / 2))
    kept = probabilities[first : last + 1]
    return Pmf(kept, max(0.0, 1.0 - float(kept.sum())), offset + first)
