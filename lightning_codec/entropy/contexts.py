"""The three contexts of the entropy model: channels (g_ch), local (g_ls) and global (g_gs)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_codec.entropy.attention import AttentionLayer
from lightning_codec.entropy.checkerboard import Sites, anchor_mask, scatter
from lightning_codec.entropy.config import EntropyConfig

# Widths of g_ch at M = 320 (ELIC); they scale with M.
CHANNEL_CONTEXT_WIDTHS = (224, 128)
CHANNEL_CONTEXT_M = 320


def channel_context(seen_channels: int, out_channels: int, latent_channels: int) -> nn.Sequential:
    """g_ch: y_hat of the earlier groups [B, sum C_i, h, w] -> phi_ch [B, 2 C_j, h, w]."""
    wide, narrow = (max(8, round(c * latent_channels / CHANNEL_CONTEXT_M)) for c in CHANNEL_CONTEXT_WIDTHS)
    return nn.Sequential(
        nn.Conv2d(seen_channels, wide, kernel_size=5, padding=2),
        nn.GELU(),
        nn.Conv2d(wide, narrow, kernel_size=5, padding=2),
        nn.GELU(),
        nn.Conv2d(narrow, out_channels, kernel_size=5, padding=2),
    )


class LocalContext(nn.Module):
    """g_ls: a masked 5x5 convolution that keeps the 12 taps of odd distance, which from a non-anchor hit anchors.

    Only these taps and only the non-anchors are computed, a quarter of the whole convolution: the anchors of even and
    of odd rows make two dense grids of half the height and width, and on those the taps are a 3x2 kernel (rows of the
    same parity) and a 2x3 one (the others). The remaining 13 weights are never read.

    Args:
        channels: C_j.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, kernel_size=5, padding=2)

    def forward(self, y_anchor: Tensor) -> Tensor:
        """phi_ls: y_anchor [B, C_j, h, w] (h and w even) -> [B, 2 C_j, h, w], zero at the anchors."""
        weight, bias = self.conv.weight, self.conv.bias
        same, other = weight[:, :, 0::2, 1::2], weight[:, :, 1::2, 0::2]
        even, odd = y_anchor[:, :, 0::2, 0::2], y_anchor[:, :, 1::2, 1::2]
        # Pads (left, right, top, bottom) place the kernels: in even rows the non-anchor stands between the anchors
        # c and c + 1 of its row, in odd rows between c - 1 and c.
        even_rows = F.conv2d(F.pad(even, (0, 1, 1, 1)), same, bias) + F.conv2d(F.pad(odd, (1, 1, 1, 0)), other)
        odd_rows = F.conv2d(F.pad(odd, (1, 0, 1, 1)), same, bias) + F.conv2d(F.pad(even, (1, 1, 0, 1)), other)
        return scatter(torch.stack([even_rows, odd_rows], dim=-2).flatten(-3, -2), Sites.NON_ANCHOR)


class GlobalContext(nn.Module):
    """g_gs: L blocks of masked W-MSA and SW-MSA from the non-anchors to the anchors (paper, Sec. 3).

        X = m_a * Embed(y_anchor) + m_n * Embed(phi_ls)  ─►  2 L layers  ─►  phi_gs = m_n * Conv1(X)

    phi_ls is constant at the anchors, so these bring an embedding of their own or the keys would carry nothing. X is a
    function of the anchors alone: nothing here can see a non-anchor, whatever is mixed.

    Args:
        channels: C_j.
        config: window, blocks, bias, max_width, update_anchors, local_context.
    """

    def __init__(self, channels: int, config: EntropyConfig) -> None:
        super().__init__()
        width = min(2 * channels, config.max_width)
        self.update_anchors = config.update_anchors
        self.embed_anchor = nn.Conv2d(channels, width, kernel_size=1)
        self.embed_local = nn.Conv2d(2 * channels, width, kernel_size=1) if config.local_context else None
        self.layers = nn.ModuleList(
            AttentionLayer(width, config.window, shift, config.position_bias, config.update_anchors)
            for _ in range(config.blocks)
            for shift in (0, config.window // 2)
        )
        self.project = nn.Conv2d(width, 2 * channels, kernel_size=1)

    def forward(self, y_anchor: Tensor, local: Tensor | None) -> Tensor:
        """y_anchor [B, C_j, h, w], zero at non-anchors; local phi_ls [B, 2 C_j, h, w] or None.

        Returns phi_gs [B, 2 C_j, h, w], exactly 0 at the anchors.
        """
        height, width = y_anchor.shape[-2:]
        anchors = anchor_mask(height, width, y_anchor.device).to(y_anchor.dtype)
        x = anchors * self.embed_anchor(y_anchor)
        if self.embed_local is not None and local is not None:
            x = x + (1 - anchors) * self.embed_local(local)
        gate = torch.ones_like(anchors) if self.update_anchors else 1 - anchors
        for layer in self.layers:
            x = layer(x, gate)
        projected: Tensor = (1 - anchors) * self.project(x)
        return projected
