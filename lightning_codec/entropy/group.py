"""One channel group: its contexts and the aggregation into (mu, sigma)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_codec.entropy.checkerboard import Sites, gather
from lightning_codec.entropy.config import EntropyConfig
from lightning_codec.entropy.contexts import GlobalContext, LocalContext, channel_context
from lightning_codec.entropy.gaussian import GaussianParams


class ParameterAggregation(nn.Module):
    """g_ep: 1x1 convolutions from all contexts to (mu, ln sigma), shared by both passes of a group.

    The first layer is kept in two parts. The part without bias reads the spatial contexts, so that in the anchor pass,
    where these are zeros by definition, it is left out at no loss: W [0, 0, phi_ch, psi] = W' [phi_ch, psi].

    Args:
        context_channels: channels of [phi_ch, psi].
        spatial_channels: channels of [phi_ls, phi_gs]; 0 where both are off.
        out_channels: 2 C_j.
        min_width: least width of the hidden layers (2 N_h).
    """

    def __init__(self, context_channels: int, spatial_channels: int, out_channels: int, min_width: int) -> None:
        super().__init__()
        first = context_channels + spatial_channels
        # Widths go down linearly from the input to the output.
        wide = max(min_width, round(first + (out_channels - first) / 3))
        narrow = max(min_width, round(first + (out_channels - first) * 2 / 3))
        self.from_context = nn.Conv2d(context_channels, wide, kernel_size=1)
        self.from_spatial = nn.Conv2d(spatial_channels, wide, kernel_size=1, bias=False) if spatial_channels else None
        self.head = nn.Sequential(
            nn.GELU(),
            nn.Conv2d(wide, narrow, kernel_size=1),
            nn.GELU(),
            nn.Conv2d(narrow, out_channels, kernel_size=1),
        )


class GroupModel(nn.Module):
    """The entropy parameters of channel group j, pass by pass (paper, Fig. 2).

        y_hat of groups < j ─► g_ch ─► phi_ch ─┐
        psi ───────────────────────────────────┼─► g_ep ─► (mu, l) of the anchors      ─► y_anchor
        y_anchor ─► g_ls ─► phi_ls ────────────┤
                 └► g_gs ─► phi_gs ────────────┴─► g_ep ─► (mu, l) of the non-anchors

    Args:
        widths: channels of all groups.
        j: which of them this is, from 0.
        config: the settings of the entropy model.
    """

    def __init__(self, widths: Sequence[int], j: int, config: EntropyConfig) -> None:
        super().__init__()
        C, seen = widths[j], sum(widths[:j])
        psi_channels = 2 * config.hyper_channels
        self.channel = channel_context(seen, 2 * C, sum(widths)) if j else None
        spatial = config.checkerboard
        self.local_context = LocalContext(C) if spatial and config.local_context else None
        self.global_context = GlobalContext(C, config) if spatial and config.global_context else None
        parts = (self.local_context is not None) + (self.global_context is not None)
        self.aggregation = ParameterAggregation(psi_channels + (2 * C if j else 0), 2 * C * parts, 2 * C, psi_channels)

    def shared_hidden(self, psi: Tensor, y_hat_before: Tensor) -> Tensor:
        """What both passes share: the part of g_ep's first layer that reads phi_ch and psi.

        Args:
            psi: [B, 2 N_h, h, w].
            y_hat_before: y_hat of the earlier groups [B, sum C_i, h, w]; not read by the first group.
        """
        context = psi if self.channel is None else torch.cat([self.channel(y_hat_before), psi], dim=1)
        hidden: Tensor = self.aggregation.from_context(context)
        return hidden

    def parameters_of(self, sites: Sites, hidden: Tensor, y_anchor: Tensor | None) -> GaussianParams:
        """(mu, l) of the sites of one pass.

        Args:
            sites: the pass.
            hidden: from `shared_hidden`, [B, width, h, w].
            y_anchor: y_hat at the anchors, zero elsewhere, [B, C_j, h, w]; None before they are known.
        """
        packed = gather(hidden, sites)
        if y_anchor is not None and self.aggregation.from_spatial is not None:
            packed = packed + self.aggregation.from_spatial(gather(self._spatial(y_anchor), sites))
        mean, log_scale = self.aggregation.head(packed).chunk(2, dim=1)
        return GaussianParams(mean, log_scale)

    def _spatial(self, y_anchor: Tensor) -> Tensor:
        """[phi_ls, phi_gs] where they are on: [B, 2 C_j or 4 C_j, h, w]; read at the non-anchors only."""
        local = None if self.local_context is None else self.local_context(y_anchor)
        parts = [] if local is None else [local]
        if self.global_context is not None:
            parts.append(self.global_context(y_anchor, local))
        return torch.cat(parts, dim=1)
