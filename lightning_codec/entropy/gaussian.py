"""The conditional Gaussian of a latent symbol: its likelihood, its scale table, its probability tables.

The coded symbol is k = round(y - mu); P(k) = Phi((1/2 - |k|) / sigma) - Phi((-1/2 - |k|) / sigma).
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from torch import Tensor, nn

from lightning_codec.entropy.bounds import lower_bound

SCALE_MIN = 0.11
SCALE_MAX = 256.0
# 128 levels with nearest rounding cost 0.17 % for sigma in [.11, .2]; 64 rounded upwards, the usual choice, 3 %.
SCALE_LEVELS = 128
LIKELIHOOD_MIN = 1e-9
# A symbol outside +- this many sigma is coded as an escape. The tail beyond costs less than the table entries
# that it would need, since each entry takes at least 2^-16 of the probability.
TAIL_MASS = 2.0**-17

_LOG_MIN, _LOG_MAX = math.log(SCALE_MIN), math.log(SCALE_MAX)
_LOG_STEP = (_LOG_MAX - _LOG_MIN) / (SCALE_LEVELS - 1)


class GaussianParams(NamedTuple):
    """Parameters of one pass, packed as in `checkerboard`."""

    mean: Tensor
    """mu, [B, C_j, h, w/2]"""
    log_scale: Tensor
    """l = ln sigma before bounding, [B, C_j, h, w/2]"""


class GaussianLikelihood(nn.Module):
    """P(y | mu, sigma) of a Gaussian convolved with a unit box, bounded below by 1e-9.

    Both bounds let a gradient through that leads back inside, so a parameter never gets stuck outside of them.
    """

    def forward(self, y: Tensor, params: GaussianParams) -> Tensor:
        """Likelihoods of `y` (same shape as the parameters), in (0, 1], float32 whatever autocast says."""
        with torch.autocast(y.device.type, enabled=False):
            log_scale = lower_bound(params.log_scale.float(), _LOG_MIN).clamp(max=_LOG_MAX)
            inverse_scale = torch.exp(-log_scale)
            distance = torch.abs(y.float() - params.mean.float())
            upper = _standard_cdf((0.5 - distance) * inverse_scale)
            lower = _standard_cdf((-0.5 - distance) * inverse_scale)
            return lower_bound(upper - lower, LIKELIHOOD_MIN)


def _standard_cdf(x: Tensor) -> Tensor:
    # erfc keeps its relative precision in the lower tail, where 1 + erf cancels.
    return 0.5 * torch.erfc(x * -(2.0**-0.5))


def scale_index(log_scale: Tensor) -> Tensor:
    """Nearest level of the scale table in log sigma: int32 in [0, 127], same shape.

    Args:
        log_scale: l, finite.
    """
    return torch.round((log_scale - _LOG_MIN) / _LOG_STEP).clamp(0, SCALE_LEVELS - 1).to(torch.int32)


def scale_table() -> NDArray[np.float64]:
    """The 128 log-spaced scales from 0.11 to 256, float64 [128]."""
    table: NDArray[np.float64] = np.exp(np.linspace(_LOG_MIN, _LOG_MAX, SCALE_LEVELS))
    return table


class Pmf(NamedTuple):
    """A probability mass function on consecutive integers, and what lies outside of them."""

    probabilities: NDArray[np.float64]
    """[n], P(offset), P(offset + 1), ..."""
    tail: float
    """probability of all other integers, coded as escapes"""
    offset: int


def gaussian_pmfs() -> list[Pmf]:
    """One symmetric pmf per level of the scale table; each reaches to where at most 2^-17 lies outside."""
    pmfs = []
    for sigma in scale_table():
        reach = max(1, math.ceil(-ndtri(TAIL_MASS / 2) * sigma - 0.5))
        k = np.abs(np.arange(-reach, reach + 1, dtype=np.float64))
        probabilities = ndtr((0.5 - k) / sigma) - ndtr((-0.5 - k) / sigma)
        tail = float(2 * ndtr((-0.5 - reach) / sigma))
        pmfs.append(Pmf(probabilities, tail, -reach))
    return pmfs
