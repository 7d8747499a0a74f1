"""A lower bound that never traps a parameter below it."""

from typing import Any

import torch
from torch import Tensor


class _LowerBound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:  # noqa: ANN401 - as autograd calls it
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - as autograd calls it
        (x,) = ctx.saved_tensors
        return torch.where((x >= ctx.bound) | (grad < 0), grad, torch.zeros_like(grad)), None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """max(x, bound), element by element, in the shape of x.

    Below the bound the gradient is let through where descending it raises x, and is 0 elsewhere (Ballé et al., 2018).
    """
    bounded: Tensor = _LowerBound.apply(x, bound)
    return bounded
