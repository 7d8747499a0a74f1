"""Tiny entropy models for the tests, and a recorder of what the walk computes."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lightning_codec.entropy import EntropyConfig, EntropyModel, GaussianParams, Sites, gather
from lightning_codec.entropy.quantization import ste_round

TINY = EntropyConfig(hyper_channels=4, channel_groups=[2, 4, 6], window=4, blocks=1)
CHANNELS = 12


def tiny_model(seed: int = 0, **changes: Any) -> EntropyModel:
    """A model with random weights everywhere, biases included: zeros would hide a leak."""
    torch.manual_seed(seed)
    model = EntropyModel(CHANNELS, replace(TINY, **changes)).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.add_(0.3 * torch.randn_like(p))
    return model


def random_latents(h: int = 8, w: int = 12, batch: int = 1, seed: int = 1) -> tuple[Tensor, Tensor]:
    """(y [B, M, h, w], psi [B, 2 N_h, h, w])."""
    generator = torch.Generator().manual_seed(seed)
    y = 3.0 * torch.randn(batch, CHANNELS, h, w, generator=generator)
    psi = torch.randn(batch, 2 * TINY.hyper_channels, h, w, generator=generator)
    return y, psi


def record(model: EntropyModel, y: Tensor, psi: Tensor) -> dict[tuple[int, Sites], GaussianParams]:
    """The parameters of every pass when `y` is what is coded; differentiable with respect to y."""
    groups = model.split_groups(y)
    seen: dict[tuple[int, Sites], GaussianParams] = {}

    def code(j: int, sites: Sites, params: GaussianParams) -> Tensor:
        seen[j, sites] = params
        return ste_round(gather(groups[j], sites), params.mean)

    model.walk(psi, code)
    return seen


def group_slice(model: EntropyModel, j: int) -> slice:
    """Channels of group j."""
    start = sum(model.widths[:j])
    return slice(start, start + model.widths[j])


def site_mask(h: int, w: int, sites: Sites) -> Tensor:
    """bool [h, w]: the sites of a pass, counted one by one."""
    wanted = {Sites.ANCHOR: (0,), Sites.NON_ANCHOR: (1,), Sites.ALL: (0, 1)}[sites]
    return torch.tensor([[(i + j) % 2 in wanted for j in range(w)] for i in range(h)])


__all__ = ["group_slice", "random_latents", "record", "site_mask", "tiny_model"]
