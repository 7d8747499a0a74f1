"""Masked window attention: sites look at the anchors in their window, and at nothing else."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_codec.entropy.checkerboard import anchor_mask
from lightning_codec.entropy.config import BiasKind
from lightning_codec.entropy.position_bias import position_bias

HEAD_DIM = 16
MLP_RATIO = 2


class ChannelLayerNorm(nn.Module):
    """LayerNorm over the channels of each site: [B, C, h, w] -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # the first caller may be an evaluation, and a later one a training step
def allowed_keys(height: int, width: int, window: int, shift: int) -> Tensor:
    """Which keys each query may look at: bool [windows, P^2, P^2] (query, key), on the CPU.

    A key is allowed if it is an anchor, is a real site (not padding), and lies in the same region as the query: the
    cyclic roll puts opposite borders of the grid side by side in one window, and they must not see each other.

    Args:
        height: h of the grid before padding to whole windows.
        width: w of the grid.
        window: P.
        shift: the roll s; 0 for plain windows.
    """
    H, W = _whole_windows(height, window), _whole_windows(width, window)
    anchors = torch.zeros(H, W, dtype=torch.bool)
    anchors[:height, :width] = anchor_mask(height, width)
    anchors = anchors.roll((-shift, -shift), (0, 1))
    # After the roll the last `shift` rows and columns are those that came round from the other side.
    row_region = (torch.arange(H) >= H - shift).long()
    column_region = (torch.arange(W) >= W - shift).long()
    region = 2 * row_region[:, None] + column_region[None, :]
    key_ok = partition(anchors[None, None].float(), window)[..., 0].bool()
    labels = partition(region[None, None].float(), window)[..., 0]
    return key_ok[:, None, :] & (labels[:, :, None] == labels[:, None, :])


def _whole_windows(size: int, window: int) -> int:
    return -(-size // window) * window


def partition(x: Tensor, window: int) -> Tensor:
    """[B, C, H, W] (multiples of P) -> [B * windows, P^2, C]."""
    B, C, H, W = x.shape
    x = x.reshape(B, C, H // window, window, W // window, window)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, window * window, C)


def unpartition(x: Tensor, window: int, height: int, width: int) -> Tensor:
    """Undo `partition`: [B * windows, P^2, C] -> [B, C, height, width]."""
    C = x.shape[-1]
    x = x.reshape(-1, height // window, width // window, window, window, C)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(-1, C, height, width)


def masked_softmax(logits: Tensor, allowed: Tensor) -> Tensor:
    """Softmax over the last axis on the allowed keys; exactly 0 elsewhere, and a zero row where no key is allowed.

    Args:
        logits: [..., queries, keys].
        allowed: bool, broadcastable to `logits`.
    """
    lowest = torch.finfo(logits.dtype).min
    return torch.softmax(logits.masked_fill(~allowed, lowest), dim=-1) * allowed


class MaskedWindowAttention(nn.Module):
    """W-MSA or SW-MSA over the anchors of each window, with a relative position bias (paper, global context).

    logits_pq = <Q_p, K_q> / sqrt(d_h) + b(delta_pq), masked by `allowed_keys`. Q, K and V come from a 1x1 convolution
    and a depth-wise 3x3 one.

    Args:
        width: D, channels of a token.
        window: P.
        shift: 0 (W-MSA) or P/2 (SW-MSA).
        bias: kind of the relative position bias.
    """

    def __init__(self, width: int, window: int, shift: int, bias: BiasKind) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD_DIM)
        while width % self.heads:
            self.heads -= 1
        self.window = window
        self.shift = shift
        self.to_qkv = nn.Sequential(
            nn.Conv2d(width, 3 * width, kernel_size=1),
            nn.Conv2d(3 * width, 3 * width, kernel_size=3, padding=1, groups=3 * width),
        )
        self.bias = position_bias(bias, self.heads, window)
        self.project = nn.Conv2d(width, width, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, h, w], any h and w -> [B, D, h, w]."""
        height, width = x.shape[-2:]
        P, s = self.window, self.shift
        H, W = _whole_windows(height, P), _whole_windows(width, P)
        qkv = F.pad(self.to_qkv(x), (0, W - width, 0, H - height))
        if s:
            qkv = qkv.roll((-s, -s), (2, 3))
        tokens = partition(qkv, P)
        heads = tokens.reshape(*tokens.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = self._attend(heads, allowed_keys(height, width, P, s).to(x.device))
        merged = unpartition(attended, P, H, W)
        if s:
            merged = merged.roll((s, s), (2, 3))
        out: Tensor = self.project(merged[..., :height, :width])
        return out

    def _attend(self, qkv: Tensor, allowed: Tensor) -> Tensor:
        """qkv [3, B * windows, n_h, P^2, d_h], allowed [windows, P^2, P^2] -> [B * windows, P^2, D]."""
        q, k, v = qkv.unbind(0)
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + self.bias().to(q)
        by_image = logits.reshape(-1, len(allowed), *logits.shape[1:])
        weights = masked_softmax(by_image, allowed[:, None]).flatten(0, 1)
        return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(-2)


class AttentionLayer(nn.Module):
    """X <- X + gate * Attention(LN(X));  X <- X + MLP(LN(X)), the MLP of ratio 2 at every site.

    The gate is 1 at the queries: the non-anchors, or every site where anchors are updated as well. The MLP refines
    the anchors too, which are the keys of the next layer.
    """

    def __init__(self, width: int, window: int, shift: int, bias: BiasKind) -> None:
        super().__init__()
        self.norm_attention = ChannelLayerNorm(width)
        self.attention = MaskedWindowAttention(width, window, shift, bias)
        self.norm_mlp = ChannelLayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Conv2d(width, MLP_RATIO * width, kernel_size=1),
            nn.GELU(),
            nn.Conv2d(MLP_RATIO * width, width, kernel_size=1),
        )

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """x [B, D, h, w], gate [h, w] of zeros and ones -> [B, D, h, w]."""
        x = x + gate * self.attention(self.norm_attention(x))
        refined: Tensor = x + self.mlp(self.norm_mlp(x))
        return refined
