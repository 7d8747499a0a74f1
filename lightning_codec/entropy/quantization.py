"""Rounding and its training surrogates."""

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


def add_uniform_noise(y: Tensor) -> Tensor:
    """y~ = y + U(-1/2, 1/2), the differentiable stand-in for rounding in the rate (Ballé et al., 2017)."""
    return y + torch.empty_like(y).uniform_(-0.5, 0.5)
