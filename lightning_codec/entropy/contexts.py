"""The three contexts of the entropy model: channels (g_ch), local (g_ls) and global (g_gs)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_codec.entropy.attention import AttentionLayer
from lightning_codec.entropy.checkerboard import anchor_mask
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
    """g_ls: a 5x5 convolution whose 12 taps of odd distance are kept: from a non-anchor they all hit anchors.

    Args:
        channels: C_j.
    """

    taps: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 2 * channels, kernel_size=5, padding=2)
        # Around the centre (2, 2) parity is that of the sum: not an anchor means odd.
        self.register_buffer("taps", (~anchor_mask(5, 5)).float(), persistent=False)

    def forward(self, y_anchor: Tensor) -> Tensor:
        """y_anchor [B, C_j, h, w], zero at non-anchors -> [B, 2 C_j, h, w]; meant for the non-anchors only."""
        # The product, rather than zeroed weights: an optimiser may write into the weights at any time.
        return F.conv2d(y_anchor, self.conv.weight * self.taps, self.conv.bias, padding=2)


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
            AttentionLayer(width, config.window, shift, config.position_bias)
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
