"""Rounding and its training surrogates."""

from typing import NamedTuple

import torch
from torch import Tensor


def ste_round(y: Tensor, mean: Tensor | float = 0.0) -> Tensor:
    """y_hat = round(y - mu) + mu in value; d y_hat / d y = 1 and d y_hat / d mu = 0 in gradient (straight through).

    The value is built as k + mu, the very sum that a decoder forms, not as y plus a correction.

    Args:
        y: any shape.
        mean: mu, broadcastable to `y`.
    """
    rounded = (torch.round(y - mean) + mean).detach()
    return rounded + (y - y.detach())


class RateNoise(NamedTuple):
    """U(-1/2, 1/2), the differentiable stand-in for rounding in the rate (Ballé et al., 2017)."""

    y: Tensor
    """[B, M, h, w]"""
    z: Tensor
    """[B, N_z, h/4, w/4]"""
