"""Latent residual prediction: what rounding took away, guessed from what is already decoded."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LatentResidualPrediction(nn.Module):
    """y' = y_hat + 1/2 tanh(g_lrp([mu part of psi, y_hat of groups <= j])), for every channel group j.

    Applied after decoding: y' feeds g_s only, the contexts keep the raw y_hat, so this can never desynchronise a
    decoder. Source: Minnen and Singh, ICIP 2020; the place after decoding is ours.

    Args:
        groups: channels of each group, their sum is M.
        psi_channels: how many leading channels of psi are read (its mu part).
    """

    def __init__(self, groups: Sequence[int], psi_channels: int) -> None:
        super().__init__()
        self.groups = tuple(groups)
        self.psi_channels = psi_channels
        self.predictors = nn.ModuleList()
        seen = 0
        for c in self.groups:
            seen += c
            self.predictors.append(
                nn.Sequential(
                    nn.Conv2d(psi_channels + seen, 2 * c, kernel_size=3, padding=1),
                    nn.GELU(),
                    nn.Conv2d(2 * c, c, kernel_size=3, padding=1),
                )
            )

    def forward(self, psi: Tensor, y_hat: Tensor) -> Tensor:
        """psi [B, >= psi_channels, h, w], y_hat [B, M, h, w] -> [B, M, h, w], within 1/2 of y_hat."""
        mean_part = psi[:, : self.psi_channels]
        residuals = []
        seen = 0
        for c, predictor in zip(self.groups, self.predictors, strict=True):
            seen += c
            residuals.append(predictor(torch.cat([mean_part, y_hat[:, :seen]], dim=1)))
        return y_hat + 0.5 * torch.tanh(torch.cat(residuals, dim=1))
